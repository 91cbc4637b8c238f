/**
 * Loaded before everything else (`--import`), it prints `dialled <address>:<port>` for each TCP connection that the process
 * opens, however it came to it, and resolves names below `egress.test` by the JSON in `?names=`: the addresses of each, one
 * after the other, the last one from then on.
 */
import dns, { type LookupAddress } from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import { isIP } from 'node:net';

type Callback = (error: null, addresses: LookupAddress[]) => void;
interface TcpWrap {
  TCP: { prototype: Record<'connect' | 'connect6', (request: object, address: string, port: number) => number> };
}
const names = JSON.parse(new URL(import.meta.url).searchParams.get('names') ?? '{}') as Record<string, string[]>;
const resolve = dns.lookup;
const scripted = (name: string, options: object, callback: Callback) => {
  const [first, ...later] = names[name] ?? [];
  if (first === undefined) return Reflect.apply(resolve, dns, [name, options, callback]);
  if (later.length > 0) names[name] = later;
  callback(null, [{ address: first, family: isIP(first) }]);
};
dns.lookup = Object.assign(scripted, { __promisify__: resolve.__promisify__ }) as typeof dns.lookup;
syncBuiltinESMExports();

// Below every library: nothing reaches the network without passing here.
const { TCP } = (process as unknown as { binding(name: string): TcpWrap }).binding('tcp_wrap');
for (const method of ['connect', 'connect6'] as const) {
  const original = TCP.prototype[method];
  TCP.prototype[method] = function dial(request, address, port) {
    process.stderr.write(`dialled ${address}:${port}\n`);
    return original.call(this, request, address, port);
  };
}

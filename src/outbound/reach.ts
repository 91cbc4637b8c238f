/** Where requests that users ask the server to make may go: judged by the address that is really connected to. */
import { type LookupAddress, lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** Which addresses may be connected to; everything else may. */
export interface Reach {
  /** Addresses of this machine itself and of its own link, among them the metadata services of clouds. */
  local: boolean;
  /** Addresses of private networks, and those that stand for others (translation, documentation, tests). */
  private: boolean;
}

/** All addresses of a name, as the system resolves it. */
export type Resolve = (
  hostname: string,
  options: { family?: number | 'IPv4' | 'IPv6' | undefined; hints?: number | undefined; all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** Addresses that belong to the server's own machine or network link (RFC 6890): there a request could ask what its
 * author may not. Cloud metadata services live at 169.254.169.254 and fd00:ec2::254. */
const LOCAL = blockList(
  [
    ['0.0.0.0', 8],
    ['127.0.0.0', 8],
    ['169.254.0.0', 16],
    ['224.0.0.0', 4],
    ['240.0.0.0', 4],
  ],
  [
    ['::', 127],
    ['fe80::', 10],
    ['ff00::', 8],
    ['fd00:ec2::', 32],
  ],
);

/** Networks that are not the internet (RFC 6890), and IPv6 addresses that carry an IPv4 address which they would hide. */
const PRIVATE = blockList(
  [
    ['10.0.0.0', 8],
    ['100.64.0.0', 10],
    ['172.16.0.0', 12],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
    ['192.168.0.0', 16],
    ['198.18.0.0', 15],
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
  ],
  [
    ['::', 96],
    ['64:ff9b::', 96],
    ['64:ff9b:1::', 48],
    ['100::', 64],
    ['2001::', 23],
    ['2001:db8::', 32],
    ['2002::', 16],
    ['fc00::', 7],
    ['fec0::', 10],
  ],
);

function blockList(ipv4: readonly [string, number][], ipv6: readonly [string, number][]): BlockList {
  const list = new BlockList();
  for (const [net, bits] of ipv4) list.addSubnet(net, bits, 'ipv4');
  for (const [net, bits] of ipv6) list.addSubnet(net, bits, 'ipv6');
  return list;
}

/** An IPv4 address in IPv6 dress (`::ffff:…`) is judged as the IPv4 address: the block lists see through it. */
function isRefused(address: string, reach: Reach): boolean {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  return (!reach.local && LOCAL.check(address, family)) || (!reach.private && PRIVATE.check(address, family));
}

/** Why the host of a URL may not be reached, where it is an address itself; null: it may, or it is a name. */
export function refusalOf(urlHostname: string, reach: Reach): string | null {
  const host = urlHostname.replace(/^\[|\]$/g, '');
  return isIP(host) !== 0 && isRefused(host, reach) ? refusal(host, reach) : null;
}

/**
 * Resolves names for a connection and leaves out what may not be reached: the address that is judged is the one
 * connected to, so that a name which answers otherwise the second time gains nothing. Node asks it for names only: judge
 * addresses with `refusalOf`.
 */
export function guardedLookup(reach: Reach, resolve: Resolve = lookup): LookupFunction {
  return (hostname, options, callback) => {
    const { family, hints } = options;
    resolve(hostname, { family, hints, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '', 0);
      const allowed = addresses.filter(({ address }) => !isRefused(address, reach));
      const [first] = allowed;
      if (first === undefined) callback(new Error(refusal(hostname, reach)), '', 0);
      else if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

function refusal(host: string, reach: Reach): string {
  return reach.private
    ? `${host} is an address of this server's own machine or link, where checks may not go`
    : `${host} is an address of this server's own machine, its link or a private network, where requests may not go`;
}

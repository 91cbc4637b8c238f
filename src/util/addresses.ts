import { isIP, SocketAddress } from 'node:net';

/**
 * An address as it is written most often, so that two that are the same are equal: `::1` for `0:0:0:0:0:0:0:1`, and IPv4 for
 * what holds one (`::ffff:192.0.2.1`). A name stays as it is.
 */
export function canonicalAddress(address: string): string {
  if (isIP(address) !== 6) return address;
  const written = new SocketAddress({ address, family: 'ipv6' }).address;
  return written.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/, '');
}

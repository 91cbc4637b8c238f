import ipaddr, { type IPv4, type IPv6 } from 'ipaddr.js';

/** The shortest prefix of a network that somebody can have for themselves. */
const SHORTEST_PREFIX = { ipv4: 8, ipv6: 16 } as const;
/** Networks that lead to no stranger, whose own prefix is shorter. */
const OWN_NETWORKS = ['fc00::/7', 'fe80::/10'].map((network) => ipaddr.IPv6.parseCIDR(network));
/** IPv4 addresses in IPv6 dress. */
const [MAPPED, MAPPED_PREFIX] = ipaddr.IPv6.parseCIDR('::ffff:0:0/96');

/** Whether the network is a large part of the internet, so that it names nobody in particular. */
export function isWide([address, prefix]: [IPv4 | IPv6, number]): boolean {
  if (address.kind() === 'ipv4') return prefix < SHORTEST_PREFIX.ipv4;
  const holdsMapped = MAPPED.match(address as IPv6, Math.min(prefix, MAPPED_PREFIX));
  if (holdsMapped) return prefix < MAPPED_PREFIX + SHORTEST_PREFIX.ipv4;
  const isOwn = OWN_NETWORKS.some(([own, ownPrefix]) => prefix >= ownPrefix && address.match(own, ownPrefix));
  return prefix < SHORTEST_PREFIX.ipv6 && !isOwn;
}

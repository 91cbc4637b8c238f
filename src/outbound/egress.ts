/**
 * Where the server connects when a user decides where to. Every feature that does so asks this policy, at each dial, about
 * the address that is dialled. Why so: docs/decisions/0061-one-egress-policy.md.
 */
import { type LookupAddress, lookup } from 'node:dns';
import { connect, isIP, type LookupFunction, type Socket } from 'node:net';
import ipaddr, { type IPv4, type IPv6 } from 'ipaddr.js';

/** What a connection is for. A new feature that dials on a user's wish (git, a mirror) takes its place here. */
export type EgressPurpose = 'webhook' | 'check' | 'host' | 'issuer';

/** A network that is allowed for all purposes: in one workspace, or in all (null). */
export interface AllowedNetwork {
  workspace: string | null;
  network: [IPv4 | IPv6, number];
}

export interface EgressSettings {
  allow: AllowedNetwork[];
  /** Purposes that may reach private networks (RFC 1918, fc00::/7). */
  private: EgressPurpose[];
  /** Purposes that may reach this machine and its own link. */
  local: EgressPurpose[];
}

/** All addresses of a name, as the system resolves it. */
export type Resolve = (
  hostname: string,
  options: { family?: number | 'IPv4' | 'IPv6' | undefined; hints?: number | undefined; all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** The policy for one purpose in one workspace. */
export interface Egress {
  /**
   * Why a host may not be connected to, where it is an address itself, also as a URL writes it; null: it may, or it is a
   * name. Node looks up names only: ask this before using `lookup`.
   */
  refusal(host: string): string | null;
  /**
   * Resolves a name for a connection and leaves out what may not be connected to. Node dials what this answers, so that a
   * name that resolves otherwise the next time gains nothing. Fails with an EgressError.
   */
  lookup: LookupFunction;
  /** Opens a TCP connection. @throws EgressError where the host is an address that is refused; a name fails on the socket. */
  connect(host: string, port: number, signal?: AbortSignal): Socket;
}

/** @param workspace the one whose users decide where to connect; null: those of all. */
export type EgressPolicy = (purpose: EgressPurpose, workspace: string | null) => Egress;

/** Refused without a packet being sent. The message is the same for all that a purpose may not reach. */
export class EgressError extends Error {
  override readonly name = 'EgressError';
}

/** In messages. */
const WHO: Record<EgressPurpose, string> = {
  webhook: 'webhooks',
  check: 'checks of workflows',
  host: 'connections to servers',
  issuer: 'identity providers',
};

/** Metadata services of clouds, which hand out credentials: no network that merely contains one allows it. */
const METADATA = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '169.254.42.42',
  '168.63.129.16',
  '100.100.100.200',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd00:42::42',
  'fd20:ce::254',
  'fe80::a9fe:a9fe',
];
/** The IPv6 addresses that are given out to the internet; everything outside has another meaning or none. */
const GLOBAL_IPV6 = ipaddr.IPv6.parseCIDR('2000::/3');
/** Byte at which an IPv6 address carries the IPv4 address that the packet goes to in the end. */
const CARRIED_AT: Readonly<Record<string, number>> = { rfc6052: 12, rfc6145: 12, '6to4': 2 };
const PRIVATE = ['private', 'uniqueLocal'];
const LOCAL = ['loopback', 'linkLocal', 'unspecified'];

export function createEgressPolicy(settings: EgressSettings, resolve: Resolve = lookup): EgressPolicy {
  return (purpose, workspace) => {
    const networks = settings.allow
      .filter((allowed) => allowed.workspace === null || allowed.workspace === workspace)
      .map(({ network }) => network);
    const allowed = (address: string) => {
      // An interface (`fe80::1%eth0`) changes nothing about where an address leads. What cannot be read is refused.
      const [host = ''] = address.split('%');
      return ipaddr.isValid(host) && isAllowed(ipaddr.process(host), networks, purpose, settings);
    };
    const refusalFor = (host: string) =>
      `${host} is not an address that ${WHO[purpose]} may reach. ` +
      'An administrator can allow its network with PROVISIONING_EGRESS_ALLOW.';
    const refusal = (given: string) => {
      const host = given.replace(/^\[|\]$/g, '');
      return isIP(host) !== 0 && !allowed(host) ? refusalFor(host) : null;
    };
    const guarded: LookupFunction = (hostname, { family, hints, all }, callback) => {
      resolve(hostname, { family, hints, all: true }, (error, addresses) => {
        if (error !== null) return callback(error, '', 0);
        const fitting = addresses.filter(({ address }) => allowed(address));
        const [first] = fitting;
        if (first === undefined) callback(new EgressError(refusalFor(hostname)), '', 0);
        else if (all === true) callback(null, fitting);
        else callback(null, first.address, first.family);
      });
    };
    return {
      refusal,
      lookup: guarded,
      connect(host, port, signal) {
        const refused = refusal(host);
        if (refused !== null) throw new EgressError(refused);
        return connect({ host, port, lookup: guarded, ...(signal === undefined ? {} : { signal }) });
      },
    };
  };
}

/** Public addresses are allowed, and others by purpose or by network. An IPv4 address in IPv6 dress (`::ffff:…`) is unwrapped before. */
function isAllowed(
  address: IPv4 | IPv6,
  networks: readonly [IPv4 | IPv6, number][],
  purpose: EgressPurpose,
  settings: EgressSettings,
): boolean {
  const containing = networks.filter(
    ([network, bits]) => network.kind() === address.kind() && address.match(network, bits),
  );
  if (METADATA.includes(address.toString())) {
    return containing.some(([, bits]) => bits === address.toByteArray().length * 8);
  }
  const range = address.range();
  const carriedAt = CARRIED_AT[range];
  if (carriedAt !== undefined) {
    const carried = ipaddr.fromByteArray(address.toByteArray().slice(carriedAt, carriedAt + 4));
    return containing.length > 0 && isAllowed(carried, networks, purpose, settings);
  }
  if (containing.length > 0) return true;
  if (PRIVATE.includes(range)) return settings.private.includes(purpose);
  if (LOCAL.includes(range)) return settings.local.includes(purpose);
  return range === 'unicast' && (address.kind() === 'ipv4' || address.match(GLOBAL_IPV6));
}

/** Reads `10.2.0.0/16`, `2001:db8::1` or, for one workspace, `staging=10.2.0.0/16`. @throws Error saying what is wrong. */
export function readAllowedNetwork(text: string): AllowedNetwork {
  const [, workspace = null, network = ''] = /^(?:([^=]+)=)?(.+)$/.exec(text) ?? [];
  const whole = network.includes('/') ? network : `${network}/${isIP(network) === 6 ? 128 : 32}`;
  if (isIP(network.split('/')[0] ?? '') === 0 || !ipaddr.isValidCIDR(whole)) {
    throw new Error(`"${text}" is not a network such as 10.2.0.0/16, or staging=10.2.0.0/16 for one workspace`);
  }
  return { workspace, network: ipaddr.parseCIDR(whole) };
}

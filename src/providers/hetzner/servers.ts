import {
  INSTALLATION_LABEL,
  OPERATION_LABEL,
  type ProviderServer,
  type ProviderServerStatus,
  WORKSPACE_LABEL,
} from '../contract.ts';
import { PLAN_LABEL, tagsOf } from '../labels.ts';
import { fields, items, text } from '../wire.ts';

/** The host name as it was asked for: the server's own name has to be unique in the project. */
export const HOSTNAME_LABEL = 'provisioning-hostname';
/** The server type that the plan became: when it is another one later, that one is shown. */
export const TYPE_LABEL = 'provisioning-type';

const STATUS = new Map<string, ProviderServerStatus>([
  ['initializing', 'creating'],
  ['starting', 'starting'],
  ['running', 'running'],
  ['stopping', 'stopping'],
  ['off', 'stopped'],
  ['deleting', 'deleting'],
  ['rebuilding', 'starting'],
  ['migrating', 'starting'],
]);

/** @returns null for what is no server. */
export function toProviderServer(value: unknown): ProviderServer | null {
  const { id, name, status, locked, labels: raw, server_type: type, location, ...rest } = fields(value);
  const ref = text(id);
  const state = text(status);
  if (ref === undefined || state === undefined) return null;
  const labels = new Map(Object.entries(fields(raw)).map(([key, label]) => [key, text(label) ?? '']));
  const native = text(fields(type).name) ?? '';
  const asked = labels.get(TYPE_LABEL) === native ? labels.get(PLAN_LABEL) : undefined;
  return {
    ref,
    hostname: labels.get(HOSTNAME_LABEL) ?? text(name) ?? ref,
    plan: asked ?? native,
    zone: text(fields(location).name) ?? '',
    // What is off and locked is in the middle of something that ends otherwise: its making, a change of its type.
    status: state === 'off' && locked === true ? 'starting' : (STATUS.get(state) ?? 'unknown'),
    ip_address: addressOf(rest.public_net, rest.private_net),
    operation_id: labels.get(OPERATION_LABEL) ?? null,
    workspace: labels.get(WORKSPACE_LABEL) ?? null,
    installation: labels.get(INSTALLATION_LABEL) ?? null,
    tags: tagsOf(labels),
  };
}

/** Public IPv4 before IPv6 (of which the server has a network and uses the first address) before private. */
function addressOf(publicNet: unknown, privateNet: unknown): string | null {
  const { ipv4, ipv6 } = fields(publicNet);
  const network = text(fields(ipv6).ip)?.replace(/\/\d+$/, '');
  const six = network === undefined ? undefined : network.endsWith('::') ? `${network}1` : network;
  return text(fields(ipv4).ip) ?? six ?? text(items(privateNet)?.[0]?.ip) ?? null;
}

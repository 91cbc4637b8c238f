import {
  INSTALLATION_LABEL,
  OPERATION_LABEL,
  type ProviderServer,
  type ProviderServerStatus,
  WORKSPACE_LABEL,
} from '../contract.ts';
import { PLAN_LABEL, tagsOf } from '../labels.ts';
import { fields, items, text } from '../wire.ts';

/** When the create was sent: tells two servers apart that were made in the same second, the API's own measure. */
export const SENT_LABEL = 'provisioning-sent';

/** Characters of a title. */
const MAX_TITLE = 64;
/** Where a disk is attached that is made with a server. */
const FIRST = 'virtio:0';

/** Keys that start so are UpCloud's own: a request that sets one is refused. */
const RESERVED_KEY = '_';

/** A server as the API shows it, in a list (no addresses) or alone. */
export interface UpcloudServer {
  uuid: string;
  hostname: string;
  state: string;
  plan: string;
  zone: string;
  labels: ReadonlyMap<string, string>;
  /** Null where the answer carries none. */
  address: string | null;
  /** Seconds since 1970; null in lists. */
  created: number | null;
  /** What is attached; nothing in lists. */
  disks: Disk[];
}

/** A storage as the server has it. */
export interface Disk {
  uuid: string;
  title: string;
  /** Where it is attached: `virtio:0`. */
  address: string;
}

/** @returns null for what is no server. */
export function readServer(value: unknown): UpcloudServer | null {
  const { uuid, hostname, title, state, plan, zone, labels, ip_addresses, created, storage_devices } = fields(value);
  const id = text(uuid);
  const status = text(state);
  if (id === undefined || status === undefined) return null;
  return {
    uuid: id,
    hostname: text(hostname) ?? text(title) ?? id,
    state: status,
    plan: text(plan) ?? 'custom',
    zone: text(zone) ?? '',
    labels: labelsIn(fields(labels).label),
    address: chooseAddress(items(fields(ip_addresses).ip_address) ?? []),
    created: typeof created === 'number' ? created : null,
    // A drive without a disk in it has no storage.
    disks: (items(fields(storage_devices).storage_device) ?? []).flatMap((device) => {
      const { storage, storage_title: title, address } = device;
      const disk = text(storage);
      return disk === undefined ? [] : [{ uuid: disk, title: text(title) ?? '', address: text(address) ?? '' }];
    }),
  };
}

/**
 * Title of a disk that is made with a server: no other has it. UpCloud takes 64 characters. Labels would say more, but not all of
 * UpCloud's own clients know them where a disk is cloned for a new server.
 * @param sent the server's label of that name.
 */
export function diskTitle(hostname: string, sent: string): string {
  const end = titleEnd(sent);
  return `${hostname.slice(0, MAX_TITLE - end.length)}${end}`;
}

function titleEnd(sent: string): string {
  return `-disk-${sent.replace(/\D/g, '')}`;
}

/**
 * The disk that was made with the server. Undefined where the server was not made here, or its disk is not attached any more.
 */
export function ownDisk({ labels, hostname, disks }: UpcloudServer): Disk | undefined {
  const sent = labels.get(SENT_LABEL);
  if (sent === undefined) return undefined;
  const made = disks.find(({ title }) => title.endsWith(titleEnd(sent)));
  if (made !== undefined) return made;
  // Earlier versions gave it a title that another may have as well.
  const [titled, another] = disks.filter(({ title }) => title === `${hostname.slice(0, MAX_TITLE - 5)}-disk`);
  return another === undefined && titled?.address === FIRST ? titled : undefined;
}

function labelsIn(value: unknown): ReadonlyMap<string, string> {
  return new Map((items(value) ?? []).map((label) => [text(label.key) ?? '', text(label.value) ?? '']));
}

const PREFERENCE = ['public IPv4', 'public IPv6', 'private IPv4', 'utility IPv4', 'private IPv6'];

/** Public IPv4 before IPv6 before private ones; the API orders them as it likes. */
export function chooseAddress(addresses: readonly Record<string, unknown>[]): string | null {
  const rank = ({ access, family }: Record<string, unknown>) => {
    const place = PREFERENCE.indexOf(`${text(access)} ${text(family)}`);
    return place === -1 ? PREFERENCE.length : place;
  };
  return text(addresses.toSorted((a, b) => rank(a) - rank(b))[0]?.address) ?? null;
}

/** `maintenance` is a change under way: a creation, a restart. */
const STATUS = new Map<string, ProviderServerStatus>([
  ['started', 'running'],
  ['stopped', 'stopped'],
  ['maintenance', 'starting'],
  ['pending_delete', 'deleting'],
  ['error', 'error'],
]);

export function toProviderServer(server: UpcloudServer, address = server.address): ProviderServer {
  const { labels } = server;
  return {
    ref: server.uuid,
    hostname: server.hostname,
    plan: server.plan === 'custom' ? (labels.get(PLAN_LABEL) ?? 'custom') : server.plan,
    zone: server.zone,
    status: STATUS.get(server.state) ?? 'unknown',
    ip_address: address,
    operation_id: labels.get(OPERATION_LABEL) ?? null,
    workspace: labels.get(WORKSPACE_LABEL) ?? null,
    installation: labels.get(INSTALLATION_LABEL) ?? null,
    tags: tagsOf(labels, RESERVED_KEY),
  };
}

/**
 * A stand-in for UpCloud's API 1.3, as far as servers go: after its recorded traffic, its documentation and its own clients
 * (upcloud-api for Python, upcloud-go-api).
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { createLists, type Fake, type FakeReply, type FakeRequest, type FakeSettings, startFake } from './fake.ts';
import {
  answerStorage,
  attach,
  deviceRow,
  type FakeDevice,
  type FakeStorage,
  newStorage,
  ok,
  problem,
  refusal,
} from './upcloud-storages.ts';

export interface FakeUpcloudSettings extends FakeSettings {
  token?: string;
  /** Milliseconds that each change takes to settle. A restart shows after the first 6/22 of its time. */
  settle?: { create?: number; stop?: number; restart?: number };
}

interface Address {
  access: string;
  address: string;
  family: string;
}

export interface FakeUpcloudServer {
  uuid: string;
  hostname: string;
  title: string;
  plan: string;
  zone: string;
  labels: { key: string; value: string }[];
  state: string;
  created: number;
  addresses: Address[];
  /** What is attached. */
  devices: FakeDevice[];
  /** What its disk was cloned from. */
  template: string;
  keys: string[];
  userData: string | null;
  /** Password that is shown once, in the answer to the create. */
  password: string;
}

/** What creates are refused with. */
export interface FakeRefusal {
  status: number;
  code: string;
  message: string;
  /** problem+json instead of UpCloud's own shape. */
  problem?: boolean;
}

export interface FakeUpcloud extends Fake {
  token: string;
  /** Credentials that are accepted: the token, until it is taken out. */
  accepted: Set<string>;
  servers: Map<string, FakeUpcloudServer>;
  /** Disks and their backups, which outlive their server unless they are deleted with it. By UUID. */
  storages: Map<string, FakeStorage>;
  /** Creates that took effect so far, by operation label. */
  created: Map<string, number>;
  /** Creates are refused so until this is null again. */
  refusing: { creates: FakeRefusal | null };
}

const PLANS = [
  [1, 1, 25],
  [1, 2, 50],
  [2, 4, 80],
  [4, 8, 160],
  [8, 32, 640],
]
  .map(([cpus = 0, gb = 0, disk]) => planOf(`${cpus}xCPU-${gb}GB`, cpus, gb, disk))
  .concat([{ ...planOf('GPU-8xCPU-64GB-1xL40S', 8, 64, 0), gpu_amount: 1, gpu_model: 'NVIDIA L40S' }]);

function planOf(name: string, cpus: number, gb: number, disk = 0) {
  return {
    ...{ core_number: cpus, memory_amount: gb * 1024, name, public_traffic_out: 1024, storage_size: disk },
    ...{ storage_tier: 'maxiops', gpu_amount: 0, gpu_model: '' },
  };
}

const NETWORKS = [
  ['03000000-0000-4000-8001-000000000000', 'Public de-fra1', 'public', '94.237.0.0/22'],
  ['034a0000-0000-4000-8001-000000000000', 'Private de-fra1', 'utility', '10.6.0.0/22'],
  ['03b5b0a0-ad4c-4817-9632-dafdb3ace5d9', 'lan', 'private', '172.16.0.0/24'],
].map(([uuid, name, type, address]) => ({
  ...{ uuid, name, type, zone: 'de-fra1' },
  ip_networks: { ip_network: [{ address, dhcp: 'yes', dhcp_default_route: 'no', family: 'IPv4', gateway: '' }] },
  servers: { server: [] },
}));

const ZONES = [
  { id: 'de-fra1', description: 'Frankfurt #1', public: 'yes' },
  { id: 'fi-hel1', description: 'Helsinki #1', public: 'yes' },
  { id: 'uk-tst1', description: 'Test Cloud #1', public: 'no' },
  { id: 'us-nyc1', description: 'New York #1', public: 'yes' },
];

const TEMPLATES = [
  ['01000000-0000-4000-8000-000010070300', 'Windows Server 2019 Standard', 25],
  ['01000000-0000-4000-8000-000020060100', 'Debian GNU/Linux 11 (Bullseye)', 3],
  ['01000000-0000-4000-8000-000020070100', 'Debian GNU/Linux 12 (Bookworm)', 3],
  ['01000000-0000-4000-8000-000030240200', 'Ubuntu Server 24.04 LTS (Noble Numbat)', 4],
].map(([uuid, title, size]) => ({
  access: 'public',
  license: 0,
  size,
  state: 'online',
  title,
  type: 'template',
  uuid,
}));

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export async function startFakeUpcloud(settings: FakeUpcloudSettings = {}): Promise<FakeUpcloud> {
  const token = settings.token ?? `ucat_${randomBytes(16).toString('hex')}`;
  const settle = { create: 20, stop: 20, restart: 1_500, ...settings.settle };
  const state: Pick<FakeUpcloud, 'servers' | 'storages' | 'created' | 'refusing'> = {
    servers: new Map(),
    storages: new Map(),
    created: new Map(),
    refusing: { creates: null },
  };
  const due: { at: number; apply: () => void }[] = [];
  const later = (milliseconds: number, apply: () => void) => {
    due.push({ at: performance.now() + milliseconds, apply });
  };
  const catchUp = () => {
    due.sort((a, b) => a.at - b.at);
    while (due[0] !== undefined && due[0].at <= performance.now()) due.shift()?.apply();
  };

  const lists = createLists(settings, state.servers);
  const accepted = new Set([token]);
  const handle = (request: FakeRequest): FakeReply => {
    catchUp();
    lists.remember();
    if (!accepted.has(request.headers.authorization?.replace(/^Bearer /, '') ?? '')) {
      return refusal(401, 'AUTHENTICATION_FAILED', 'authentication failed using the given token');
    }
    const path = request.path.replace(/\/$/, '');
    if (request.method === 'GET') {
      switch (path) {
        case '/1.3/plan':
          return ok({ plans: { plan: PLANS } });
        case '/1.3/zone':
          return ok({ zones: { zone: ZONES } });
        case '/1.3/price':
          return ok({ prices: { zone: ZONES.map(priceOf) } });
        case '/1.3/account':
          return ok({ account: { username: 'fake', credits: '10000.00' } });
        case '/1.3/storage/template':
          return ok({ storages: { storage: TEMPLATES } });
        case '/1.3/network':
          return ok({ networks: { network: NETWORKS } });
        case '/1.3/ip_address':
          return ok({ ip_addresses: { ip_address: lists.rows(path).flatMap(addressRows) } });
        case '/1.3/server':
          return listServers(lists.rows(String(request.query)), request.query);
      }
    }
    if (request.method === 'POST' && path === '/1.3/server')
      return createServer(state, request.text, settle.create, later);
    if (path.startsWith('/1.3/storage')) return answerStorage(state, request, path);
    const [, uuid = '', action] =
      /^\/1\.3\/server\/([^/]+)(?:\/(start|stop|restart|storage\/attach|storage\/detach))?$/.exec(path) ?? [];
    if (uuid === '') return problem(404, 'RESOURCE_NOT_FOUND', 'The resource you requested does not exist.');
    if (!UUID.test(uuid)) return refusal(400, 'SERVER_INVALID', 'The server UUID is invalid.');
    const server = state.servers.get(uuid);
    if (server === undefined) return refusal(404, 'SERVER_NOT_FOUND', `The server ${uuid} does not exist.`);
    const shown = () => ok({ server: details(server, state.storages) });
    if (action?.startsWith('storage/')) return attach(state, server, action, request.text) ?? shown();
    if (action !== undefined) return changePower(server, action, request.text, settle, later) ?? shown();
    if (request.method === 'GET') return shown();
    if (request.method === 'PUT') return modifyServer(server, request.text) ?? { ...shown(), status: 202 };
    return deleteServer(state, server, request.query);
  };

  const fake = await startFake(settings, handle, {
    changes: ({ method }) => method !== 'GET',
    throttled: { ...refusal(429, 'RATE_LIMITED', 'Too many requests.'), headers: { 'retry-after': '1' } },
    serverError: refusal(500, 'SERVICE_ERROR', 'Internal error.'),
  });
  return Object.assign(fake, state, { token, accepted });
}

type Later = (milliseconds: number, apply: () => void) => void;

function priceOf({ id }: { id: string }, place: number): Record<string, unknown> {
  const plans = PLANS.map(({ name, core_number: cpus }) => [
    `server_plan_${name}`,
    { amount: 1, price: 1.488 * cpus + place },
  ]);
  return { name: id, firewall: { amount: 1, price: 0.56 }, ...Object.fromEntries(plans) };
}

function addressRows({ uuid, zone, addresses }: FakeUpcloudServer) {
  return addresses.map((address) => ({ ...address, mac: '', ptr_record: '', server: uuid, zone }));
}

/** Short, without addresses, and with numbers as text. */
function listServers(servers: readonly FakeUpcloudServer[], query: URLSearchParams): FakeReply {
  const limit = Number(query.get('limit') ?? 100);
  const offset = Number(query.get('offset') ?? 0);
  if (!(limit >= 1 && limit <= 100)) return problem(400, 'INVALID_REQUEST', 'Validation error.');
  const wanted = query.getAll('label').map((label) => label.split(/=(.*)/s));
  const found = servers.filter(({ labels }) =>
    wanted.every(([key, value]) =>
      labels.some((label) => label.key === key && (value === undefined || label.value === value)),
    ),
  );
  const page = found.slice(offset, offset + limit).map((server) => {
    const { uuid, hostname, title, plan, zone, labels, state, created } = server;
    const { core_number: cpus, memory_amount: memory } = sizeOf(server);
    return {
      ...{ zone, plan, core_number: String(cpus), title, hostname, labels: { label: labels }, license: 0, created },
      ...{ memory_amount: String(memory), uuid, state, tags: { tag: [] } },
    };
  });
  return ok({ servers: { server: page } });
}

function sizeOf({ plan }: FakeUpcloudServer) {
  return PLANS.find(({ name }) => name === plan) ?? { core_number: 0, memory_amount: 0 };
}

function details(server: FakeUpcloudServer, storages: FakeUpcloud['storages']): Record<string, unknown> {
  const { uuid, hostname, title, plan, zone, labels, state, created, addresses, devices } = server;
  const { core_number: cpus, memory_amount: memory } = sizeOf(server);
  return {
    ...{
      boot_order: 'disk',
      core_number: String(cpus),
      created,
      firewall: 'off',
      hostname,
      title,
      uuid,
      zone,
      plan,
      state,
    },
    ip_addresses: { ip_address: addresses },
    labels: { label: labels },
    license: 0,
    memory_amount: String(memory),
    metadata: 'yes',
    // Interfaces as upcloud-api reads them.
    networking: {
      interfaces: {
        interface: addresses.map(({ access, address, family }, place) => ({
          ...{ bootable: 'no', index: place + 1, mac: '', network: '', source_ip_filtering: 'yes', type: access },
          ip_addresses: { ip_address: [{ address, family, floating: 'no' }] },
        })),
      },
    },
    storage_devices: { storage_device: devices.map((device) => deviceRow(device, storages.get(device.storage))) },
    tags: { tag: [] },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: a request body, judged field by field below
type Json = any;

function createServer(
  state: Pick<FakeUpcloud, 'servers' | 'storages' | 'created' | 'refusing'>,
  text: string,
  settleMs: number,
  later: Later,
): FakeReply {
  if (state.refusing.creates !== null) {
    const { status, code, message, problem: isProblem } = state.refusing.creates;
    return isProblem ? problem(status, code, message) : refusal(status, code, message);
  }
  const wanted: Json = JSON.parse(text).server;
  const labels: { key: string; value: string }[] = wanted.labels?.label ?? [];
  const wrong = whatIsWrong(wanted, labels);
  if (wrong !== null) return wrong;
  const disk = wanted.storage_devices.storage_device[0];
  const storages = wanted.storage_devices.storage_device.map((each: Json) =>
    newStorage({ ...each, zone: wanted.zone }),
  );
  const server: FakeUpcloudServer = {
    uuid: `00${randomUUID().slice(2)}`,
    hostname: wanted.hostname,
    title: wanted.title,
    plan: wanted.plan ?? 'custom',
    zone: wanted.zone,
    labels,
    state: 'maintenance',
    created: Math.floor(Date.now() / 1_000),
    addresses: addressesFor(wanted),
    devices: storages.map(({ uuid }: FakeStorage, place: number) => ({
      ...{ storage: uuid, address: `virtio:${place}`, type: 'disk' },
    })),
    template: disk.storage,
    keys: wanted.login_user?.ssh_keys?.ssh_key ?? [],
    userData: wanted.user_data ?? null,
    password: `once-${randomBytes(12).toString('hex')}`,
  };
  state.servers.set(server.uuid, server);
  for (const storage of storages) state.storages.set(storage.uuid, storage);
  const operation = labels.find(({ key }) => key === 'provisioning-operation')?.value ?? '';
  state.created.set(operation, (state.created.get(operation) ?? 0) + 1);
  later(settleMs, () => {
    server.state = 'started';
  });
  const once = { password: server.password, remote_access_password: server.password, username: 'root', progress: '0' };
  return ok({ server: { ...details(server, state.storages), ...once } }, 202);
}

function whatIsWrong(wanted: Json, labels: { key: string; value: string }[]): FakeReply | null {
  if (!wanted.hostname) return refusal(400, 'HOSTNAME_MISSING', 'The required attribute hostname is missing.');
  if (!wanted.title) return refusal(400, 'SERVER_TITLE_MISSING', 'The required attribute title is missing.');
  if (!ZONES.some(({ id }) => id === wanted.zone)) return refusal(404, 'ZONE_NOT_FOUND', 'The zone does not exist.');
  if (wanted.plan !== undefined && !PLANS.some(({ name }) => name === wanted.plan))
    return refusal(400, 'PLAN_INVALID', 'The plan is invalid.');
  for (const { key, value } of labels) {
    if (!/^[^_].{1,31}$/.test(key)) return problem(400, 'INVALID_LABEL_KEY', `The label key ${key} is invalid.`);
    if (typeof value !== 'string' || value.length > 255) return problem(400, 'INVALID_LABEL_VALUE', 'Invalid value.');
  }
  const { title } = wanted.storage_devices?.storage_device?.[0] ?? {};
  if (title?.length > 64) return refusal(400, 'STORAGE_TITLE_INVALID', 'The title is too long.');
  if (new Set(labels.map(({ key }) => key)).size !== labels.length) {
    return problem(400, 'DUPLICATE_LABEL_KEYS', 'Duplicate label keys.');
  }
  const disk = wanted.storage_devices?.storage_device?.[0];
  const template = TEMPLATES.find(({ uuid }) => uuid === disk?.storage);
  if (template === undefined) return refusal(404, 'STORAGE_NOT_FOUND', `The storage ${disk?.storage} does not exist.`);
  if (wanted.metadata !== 'yes') {
    return refusal(400, 'METADATA_DISABLED_ON_CLOUD-INIT', 'The metadata service must be on for this template.');
  }
  if (!(disk.size >= Number(template.size))) return refusal(400, 'SIZE_INVALID', 'The size is invalid.');
  return null;
}

/** In an order of its own, IPv6 first. */
function addressesFor(wanted: Json): Address[] {
  const interfaces: Json[] = wanted.networking?.interfaces?.interface ?? [];
  const byte = () => randomBytes(1)[0];
  return interfaces
    .flatMap(({ type, ip_addresses: addresses }): Address[] =>
      addresses.ip_address.map(({ family }: Json) => ({
        access: type,
        address: type === 'public' ? `94.237.${byte()}.${byte()}` : `10.6.${byte()}.${byte()}`,
        family,
      })),
    )
    .toReversed();
}

/** @returns what speaks against it; null: it is accepted. */
function changePower(
  server: FakeUpcloudServer,
  action: string,
  text: string,
  settle: { stop: number; restart: number },
  later: Later,
): FakeReply | null {
  const expected = { start: 'server', stop: 'stop_server', restart: 'restart_server' }[action] ?? '';
  // A start needs no body: UpCloud's own client for Python sends none.
  const body = text === '' ? {} : JSON.parse(text);
  if (!(expected in body) && action !== 'start')
    return refusal(400, 'REQUEST_INVALID', `The element ${expected} is missing.`);
  if (server.state !== (action === 'start' ? 'stopped' : 'started')) {
    return refusal(409, 'SERVER_STATE_ILLEGAL', `The server ${server.uuid} is in state ${server.state}.`);
  }
  const become = (state: string) => () => {
    server.state = state;
  };
  // A start is confirmed before it is answered. The others answer that it is started: the state lags.
  if (action === 'start') server.state = 'started';
  if (action === 'stop') later(settle.stop, become('stopped'));
  if (action === 'restart') {
    later((settle.restart * 6) / 22, become('maintenance'));
    later(settle.restart, become('started'));
  }
  return null;
}

/** @returns what speaks against it; null: it is done. */
function modifyServer(server: FakeUpcloudServer, text: string): FakeReply | null {
  const wanted: Json = JSON.parse(text).server;
  if (wanted.plan !== undefined && server.state !== 'stopped')
    return refusal(409, 'SERVER_STATE_ILLEGAL', 'The server must be stopped.');
  if (wanted.labels !== undefined) server.labels = wanted.labels.label;
  server.plan = wanted.plan ?? server.plan;
  server.title = wanted.title ?? server.title;
  server.hostname = wanted.hostname ?? server.hostname;
  return null;
}

/** With `storages=1` all that is attached goes too, whoever made it; `backups` says what becomes of its backups. */
function deleteServer(
  state: Pick<FakeUpcloud, 'servers' | 'storages'>,
  server: FakeUpcloudServer,
  query: URLSearchParams,
): FakeReply {
  if (server.state !== 'stopped') {
    return refusal(409, 'SERVER_STATE_ILLEGAL', `The server ${server.uuid} is in state ${server.state}.`);
  }
  const backups = query.get('backups') ?? 'keep';
  if (!['keep', 'keep_latest', 'delete'].includes(backups)) {
    return refusal(400, 'BACKUP_DELETION_POLICY_INVALID', `The policy ${backups} is invalid.`);
  }
  state.servers.delete(server.uuid);
  if (['1', 'true'].includes(query.get('storages') ?? '')) {
    for (const { storage } of server.devices) {
      state.storages.delete(storage);
      for (const { uuid, origin } of state.storages.values()) {
        if (backups === 'delete' && origin === storage) state.storages.delete(uuid);
      }
    }
  }
  return { status: 204 };
}

/** A stand-in for the Hetzner Cloud API, as far as servers go: after its documentation. */
import { createHash, randomBytes } from 'node:crypto';
import { createLists, type Fake, type FakeReply, type FakeRequest, type FakeSettings, startFake } from './fake.ts';

export interface FakeHetznerSettings extends FakeSettings {
  token?: string;
  /** Milliseconds that each change takes to settle. */
  settle?: { create?: number; stop?: number; start?: number; remove?: number };
}

export interface FakeHetznerServer {
  id: number;
  name: string;
  status: string;
  /** Something is being done with it. */
  locked: boolean;
  type: string;
  location: string;
  labels: Record<string, string>;
  ipv4: string | null;
  keys: number[];
  userData: string;
  image: number;
  /** Shown once, in the answer to a create without a key. */
  rootPassword: string | null;
  created: string;
}

export interface FakeHetzner extends Fake {
  token: string;
  /** Credentials that are accepted: the token, until it is taken out. */
  accepted: Set<string>;
  servers: Map<number, FakeHetznerServer>;
  keys: Map<number, { id: number; name: string; fingerprint: string; public_key: string }>;
  /** Creates that took effect so far, by operation label. */
  created: Map<string, number>;
  /** Creates are refused so until this is null again. */
  refusing: { creates: { status: number; code: string; message: string } | null };
  /** Systems do not react to a shutdown. */
  stubborn: { systems: boolean };
}

const LOCATIONS = [
  ['fsn1', 'Falkenstein DC Park 1'],
  ['nbg1', 'Nuremberg DC Park 1'],
  ['hel1', 'Helsinki DC Park 1'],
].map(([name, description], place) => ({
  id: place + 1,
  name,
  description,
  country: 'DE',
  network_zone: 'eu-central',
}));

const price = (location: string, hourly: number) => ({
  location,
  price_hourly: { net: hourly.toFixed(10), gross: (hourly * 1.19).toFixed(10) },
  price_monthly: { net: (hourly * 600).toFixed(10), gross: (hourly * 714).toFixed(10) },
});
const TYPES = [
  { name: 'cx22', cores: 2, memory: 4.0, disk: 40, architecture: 'x86', hourly: 0.006, at: ['fsn1', 'nbg1', 'hel1'] },
  { name: 'cpx21', cores: 3, memory: 4.0, disk: 80, architecture: 'x86', hourly: 0.011, at: ['fsn1', 'nbg1'] },
  { name: 'cx23', cores: 2, memory: 4.0, disk: 40, architecture: 'x86', hourly: 0.005, at: ['hel1'] },
  { name: 'cax11', cores: 2, memory: 4.0, disk: 40, architecture: 'arm', hourly: 0.0053, at: ['fsn1'] },
  { name: 'cx32', cores: 4, memory: 8.0, disk: 80, architecture: 'x86', hourly: 0.011, at: ['fsn1', 'nbg1'] },
  { name: 'cx11', cores: 1, memory: 2.0, disk: 20, architecture: 'x86', hourly: 0.005, at: ['fsn1'], gone: true },
].map(({ at, hourly, gone, ...type }, place) => ({
  ...{ id: place + 1, ...type, description: type.name.toUpperCase(), storage_type: 'local', cpu_type: 'shared' },
  deprecated: gone === true,
  deprecation: gone === true ? { announced: '2024-01-01T00:00:00Z', unavailable_after: '2024-09-01T00:00:00Z' } : null,
  prices: at.map((location) => price(location, hourly)),
}));
const IMAGES = ['debian-12', 'ubuntu-24.04', 'rocky-9', 'alma-9', 'centos-stream-9'].flatMap((name, place) =>
  ['x86', 'arm'].map((architecture, half) => ({
    ...{ id: 100 + place * 2 + half, type: 'system', status: 'available', name, architecture, deprecated: null },
    os_flavor: name.split('-')[0],
  })),
);

export async function startFakeHetzner(settings: FakeHetznerSettings = {}): Promise<FakeHetzner> {
  const token = settings.token ?? randomBytes(32).toString('hex');
  const settle = { create: 20, stop: 20, start: 20, remove: 20, ...settings.settle };
  const state: State = {
    servers: new Map(),
    keys: new Map(),
    created: new Map(),
    refusing: { creates: null },
    stubborn: { systems: false },
  };
  let nextId = 1_000;
  const newId = () => nextId++;
  const due: { at: number; apply: () => void }[] = [];
  const later: Later = (milliseconds, apply) => due.push({ at: performance.now() + milliseconds, apply });
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
      return refusal(401, 'unauthorized', 'unable to authenticate');
    }
    const { method, path, query } = request;
    if (method === 'GET') {
      const list = {
        '/v1/server_types': () => TYPES,
        '/v1/locations': () => LOCATIONS,
        '/v1/images': () => IMAGES,
        '/v1/ssh_keys': () =>
          [...state.keys.values()].filter(({ fingerprint }) => [null, fingerprint].includes(query.get('fingerprint'))),
        '/v1/servers': () =>
          lists
            .rows(String(query))
            .filter(({ labels }) => selects(query.get('label_selector'), labels))
            .map(shown),
      }[path];
      if (path === '/v1/pricing') return ok({ pricing: { currency: 'EUR', vat_rate: '19.00', primary_ips: [] } });
      if (list !== undefined) return page(path.slice('/v1/'.length), list(), query);
    }
    if (method === 'POST' && path === '/v1/ssh_keys') return addKey(state, request.text, newId);
    if (method === 'POST' && path === '/v1/servers')
      return createServer(state, request.text, settle.create, later, newId);
    const [, id = '', action] = /^\/v1\/servers\/(\d+)(?:\/actions\/(\w+))?$/.exec(path) ?? [];
    const server = state.servers.get(Number(id));
    if (server === undefined) return refusal(404, 'not_found', `server with ID '${id}' not found`);
    if (action !== undefined) return act(state, server, action, settle, later, request.text);
    if (method === 'GET') return ok({ server: shown(server) });
    if (method === 'PUT') return change(server, request.text);
    if (server.locked) return refusal(423, 'locked', 'server is locked');
    server.status = 'deleting';
    server.locked = true;
    later(settle.remove, () => state.servers.delete(server.id));
    return ok({ action: actionOf('delete_server') });
  };

  const fake = await startFake(settings, handle, {
    changes: ({ method }) => method !== 'GET',
    throttled: refusal(429, 'rate_limit_exceeded', 'limit of 3600 requests per hour reached'),
    serverError: refusal(500, 'service_error', 'an internal error occurred'),
    limitHeaders: (limit, remaining, reset) => ({
      'RateLimit-Limit': String(limit),
      'RateLimit-Remaining': String(remaining),
      'RateLimit-Reset': String(Math.floor(Date.now() / 1_000) + reset),
    }),
  });
  return Object.assign(fake, state, { token, accepted });
}

type State = Pick<FakeHetzner, 'servers' | 'keys' | 'created' | 'refusing' | 'stubborn'>;
type Later = (milliseconds: number, apply: () => void) => void;
// biome-ignore lint/suspicious/noExplicitAny: a request body, judged field by field below
type Json = any;

function ok(body: unknown, status = 200): FakeReply {
  return { status, body };
}

function refusal(status: number, code: string, message: string, details: unknown = null): FakeReply {
  return { status, body: { error: { code, message, details } } };
}

function page(key: string, all: readonly unknown[], query: URLSearchParams): FakeReply {
  const per = Number(query.get('per_page') ?? 25);
  const number = Number(query.get('page') ?? 1);
  if (!(per >= 1 && per <= 50)) return invalid('per_page', 'must be between 1 and 50');
  const last = Math.max(1, Math.ceil(all.length / per));
  const pagination = {
    ...{ page: number, per_page: per, previous_page: number > 1 ? number - 1 : null },
    ...{ next_page: number < last ? number + 1 : null, last_page: last, total_entries: all.length },
  };
  return ok({ [key]: all.slice((number - 1) * per, number * per), meta: { pagination } });
}

function invalid(name: string, message: string): FakeReply {
  return refusal(422, 'invalid_input', `invalid input in field '${name}'`, { fields: [{ name, messages: [message] }] });
}

/** `key` and `key==value`. */
function selects(selector: string | null, labels: Record<string, string>): boolean {
  if (selector === null) return true;
  return selector.split(',').every((term) => {
    const [key = '', value] = term.split(/==?(.*)/s);
    return key in labels && (value === undefined || labels[key] === value);
  });
}

function shown(server: FakeHetznerServer): Record<string, unknown> {
  const { id, name, status, locked, type, location, labels, ipv4, created } = server;
  const place = LOCATIONS.find((each) => each.name === location);
  return {
    ...{ id, name, status, locked, created, labels, volumes: [], backup_window: null, rescue_enabled: false },
    public_net: {
      ipv4: ipv4 === null ? null : { id: id + 1, ip: ipv4, blocked: false, dns_ptr: '' },
      ipv6: ipv4 === null ? null : { id: id + 2, ip: `2a01:4f8:${(id % 0xffff).toString(16)}::/64`, blocked: false },
      floating_ips: [],
    },
    private_net: ipv4 === null ? [{ network: 7, ip: '10.0.0.2', alias_ips: [] }] : [],
    server_type: TYPES.find((each) => each.name === type),
    datacenter: { id: 4, name: `${location}-dc14`, location: place },
  };
}

function actionOf(command: string) {
  return { id: Math.floor(performance.now()), command, status: 'running', progress: 0, error: null };
}

const LABEL = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;

function createServer(state: State, text: string, settleMs: number, later: Later, newId: () => number): FakeReply {
  if (state.refusing.creates !== null) {
    const { status, code, message } = state.refusing.creates;
    return refusal(status, code, message);
  }
  const wanted: Json = JSON.parse(text);
  const type = TYPES.find(({ name }) => name === wanted.server_type);
  const image = IMAGES.find(({ id, name }) => [id, name].includes(wanted.image));
  if (!/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(wanted.name ?? '')) return invalid('name', 'invalid server name');
  if (type === undefined) return invalid('server_type', 'server type not found');
  if (!LOCATIONS.some(({ name }) => name === wanted.location)) return invalid('location', 'location not found');
  if (!type.prices.some(({ location }) => location === wanted.location)) {
    return refusal(422, 'unsupported_error', 'unsupported location for server type');
  }
  if (image === undefined || image.architecture !== type.architecture) return invalid('image', 'image not found');
  const labels: Record<string, string> = wanted.labels ?? {};
  for (const [key, value] of Object.entries(labels)) {
    if (key === '' || !LABEL.test(key) || !LABEL.test(value)) return invalid('labels', `invalid label ${key}`);
  }
  if ((wanted.ssh_keys ?? []).some((id: number) => !state.keys.has(id))) return invalid('ssh_keys', 'not found');
  if ([...state.servers.values()].some(({ name }) => name === wanted.name)) {
    return refusal(409, 'uniqueness_error', 'server name is already used', { fields: [{ name: 'name' }] });
  }
  const isPublic = wanted.public_net?.enable_ipv4 !== false;
  if (!isPublic && wanted.networks.length === 0) return invalid('public_net', 'a network is needed');
  const id = newId();
  const keys: number[] = wanted.ssh_keys ?? [];
  const server: FakeHetznerServer = {
    ...{ id, name: wanted.name, status: 'initializing', locked: true, type: type.name, location: wanted.location },
    ...{ labels, ipv4: isPublic ? `116.203.${id >> 8}.${id & 255}` : null, keys, userData: wanted.user_data ?? '' },
    image: image.id,
    rootPassword: keys.length === 0 ? `once-${randomBytes(12).toString('hex')}` : null,
    created: new Date().toISOString(),
  };
  state.servers.set(id, server);
  const operation = labels['provisioning-operation'] ?? '';
  state.created.set(operation, (state.created.get(operation) ?? 0) + 1);
  later(settleMs, () => {
    server.status = 'running';
    server.locked = false;
  });
  const { rootPassword: root_password } = server;
  return ok({ server: shown(server), action: actionOf('create_server'), next_actions: [], root_password }, 201);
}

function act(
  state: State,
  server: FakeHetznerServer,
  action: string,
  settle: { stop: number; start: number },
  later: Later,
  text: string,
): FakeReply {
  if (server.locked) return refusal(423, 'locked', 'server is locked');
  const become = (status: string, milliseconds: number) =>
    later(milliseconds, () => {
      if (server.status !== 'deleting') server.status = status;
    });
  switch (action) {
    case 'poweron':
      if (server.status === 'off') {
        server.status = 'starting';
        become('running', settle.start);
      }
      break;
    case 'shutdown':
      if (server.status === 'off') return refusal(409, 'conflict', 'server is not running');
      if (!state.stubborn.systems) become('off', settle.stop);
      break;
    case 'poweroff':
      become('off', settle.stop);
      break;
    case 'reboot':
      if (server.status === 'off') return refusal(409, 'conflict', 'server is not running');
      break;
    case 'change_type': {
      const { server_type: wanted, upgrade_disk: disk }: Json = JSON.parse(text);
      const type = TYPES.find(({ name }) => name === wanted);
      if (type === undefined) return invalid('server_type', 'server type not found');
      if (typeof disk !== 'boolean') return invalid('upgrade_disk', 'is required');
      if (server.status !== 'off') return refusal(422, 'server_not_stopped', 'server must be stopped');
      server.type = type.name;
      break;
    }
    default:
      return refusal(404, 'not_found', 'action not found');
  }
  return ok({ action: actionOf(action) }, 201);
}

function change(server: FakeHetznerServer, text: string): FakeReply {
  const wanted: Json = JSON.parse(text);
  if (wanted.labels !== undefined) server.labels = wanted.labels;
  return ok({ server: shown(server) });
}

function addKey(state: State, text: string, newId: () => number): FakeReply {
  const { name, public_key: line }: Json = JSON.parse(text);
  const blob = Buffer.from(String(line).split(' ')[1] ?? '', 'base64');
  if (blob.length === 0) return invalid('public_key', 'not a public key');
  const fingerprint = createHash('md5').update(blob).digest('hex').match(/../g)?.join(':') ?? '';
  if ([...state.keys.values()].some((key) => key.name === name || key.fingerprint === fingerprint)) {
    return refusal(409, 'uniqueness_error', 'SSH key with the same fingerprint already exists');
  }
  const key = { id: newId(), name, fingerprint, public_key: line };
  state.keys.set(key.id, key);
  return ok({ ssh_key: key }, 201);
}

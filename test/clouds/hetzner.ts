/**
 * A stand-in for the Hetzner Cloud API, as far as servers go: after hcloud-go's schemas and its list of error codes. Its
 * official clients live on it in test/truth.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createLists, type Fake, type FakeReply, type FakeRequest, type FakeSettings, startFake } from './fake.ts';
import { type FakeImage, LOCATIONS, PRICING, shownImage, systemImages, TYPES } from './hetzner-offer.ts';

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
  networks: number[];
  keys: number[];
  userData: string;
  image: number;
  protection: { delete: boolean; rebuild: boolean };
  /** Shown once, in the answer to a create without a key. */
  rootPassword: string | null;
  created: string;
}

interface FakeKey {
  id: number;
  name: string;
  fingerprint: string;
  public_key: string;
  labels: Record<string, string>;
  created: string;
}

interface FakeNetwork {
  id: number;
  name: string;
  ip_range: string;
  labels: Record<string, string>;
  subnets: unknown[];
}

interface FakeAction {
  id: number;
  command: string;
  status: 'running' | 'success' | 'error';
  progress: number;
  started: string;
  finished: string | null;
  resources: { id: number; type: string }[];
  error: { code: string; message: string } | null;
}

export interface FakeHetzner extends Fake {
  token: string;
  /** Credentials that are accepted: the token, until it is taken out. */
  accepted: Set<string>;
  servers: Map<number, FakeHetznerServer>;
  keys: Map<number, FakeKey>;
  networks: Map<number, FakeNetwork>;
  images: Map<number, FakeImage>;
  actions: Map<number, FakeAction>;
  /** Creates that took effect so far, by operation label. */
  created: Map<string, number>;
  /** Creates are refused so until this is null again. */
  refusing: { creates: { status: number; code: string; message: string } | null };
  /** Systems do not react to a shutdown. */
  stubborn: { systems: boolean };
  /** So many starts of servers, the one after their making included, leave them off. */
  leavesOff: { starts: number };
  /** The next action of a command is accepted, and then fails so. */
  failing: Map<string, { code: string; message: string }>;
}

type State = Pick<
  FakeHetzner,
  'servers' | 'keys' | 'networks' | 'images' | 'actions' | 'created' | 'refusing' | 'stubborn' | 'leavesOff' | 'failing'
>;

/** What the parts of the stand-in work with. */
interface World extends State {
  settle: { create: number; stop: number; start: number; remove: number };
  later(milliseconds: number, apply: () => void): void;
  newId(): number;
}

export async function startFakeHetzner(settings: FakeHetznerSettings = {}): Promise<FakeHetzner> {
  const token = settings.token ?? randomBytes(32).toString('hex');
  const state: State = {
    servers: new Map(),
    keys: new Map(),
    networks: new Map([[7, { id: 7, name: 'office', ip_range: '10.0.0.0/16', labels: {}, subnets: [SUBNET] }]]),
    images: new Map(systemImages().map((image) => [image.id, image])),
    actions: new Map(),
    created: new Map(),
    refusing: { creates: null },
    stubborn: { systems: false },
    leavesOff: { starts: 0 },
    failing: new Map(),
  };
  let nextId = 1_000;
  const due: { at: number; apply: () => void }[] = [];
  const world: World = {
    ...state,
    settle: { create: 20, stop: 20, start: 20, remove: 20, ...settings.settle },
    newId: () => nextId++,
    later: (milliseconds, apply) => due.push({ at: performance.now() + milliseconds, apply }),
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
      return refusal(401, 'unauthorized', 'unable to authenticate');
    }
    const { query } = request;
    const [, collection = '', id, sub, action] =
      /^\/v1\/(\w+)(?:\/(\d+))?(?:\/(actions)(?:\/(\w+))?)?$/.exec(request.path) ?? [];
    if (collection === 'pricing') return ok({ pricing: PRICING });
    const number = id === undefined ? null : Number(id);
    if (request.method === 'GET') {
      if (sub !== undefined) return actionsOf(world, collection, number, action, query);
      const known = {
        actions: () => [...state.actions.values()],
        server_types: () => TYPES,
        locations: () => LOCATIONS,
        images: () => [...state.images.values()].map(shownImage),
        ssh_keys: () => [...state.keys.values()],
        networks: () => [...state.networks.values()].map((network) => shownNetwork(network, state)),
        servers: () =>
          (number === null ? lists.rows(String(query)) : [...state.servers.values()]).map((each) => shown(each, state)),
      }[collection];
      if (known === undefined) return noRoute();
      return number === null
        ? page(collection, known().filter(matching(query)), query)
        : one(collection, known(), number);
    }
    let body: Json = {};
    try {
      body = request.text === '' ? {} : JSON.parse(request.text);
    } catch {
      return refusal(400, 'json_error', 'invalid JSON');
    }
    switch (collection) {
      case 'servers':
        if (number === null) return request.method === 'POST' ? createServer(world, body) : noRoute();
        return changeServer(world, number, request.method, action, body);
      case 'ssh_keys':
        return changeKey(world, number, request.method, body);
      case 'networks':
        return changeNetwork(world, number, request.method, body);
      case 'images':
        return changeImage(world, number, request.method, body);
    }
    return noRoute();
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

const SUBNET = { type: 'cloud', ip_range: '10.0.0.0/24', network_zone: 'eu-central', gateway: '10.0.0.1' };

// biome-ignore lint/suspicious/noExplicitAny: a request body, judged field by field below
type Json = any;

function ok(body: unknown, status = 200): FakeReply {
  return { status, body };
}

function refusal(status: number, code: string, message: string, details: unknown = null): FakeReply {
  return { status, body: { error: { code, message, details } } };
}

function noRoute(): FakeReply {
  return refusal(404, 'not_found', 'resource not found');
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

/** `/servers/1` answers `{ server }`. */
function one(collection: string, known: readonly object[], id: number): FakeReply {
  const key = collection.replace(/s$/, '');
  const found = known.find((each) => Reflect.get(each, 'id') === id);
  if (found === undefined) return refusal(404, 'not_found', `${key} with ID '${id}' not found`);
  return ok({ [key]: found });
}

function invalid(name: string, message: string): FakeReply {
  return refusal(422, 'invalid_input', `invalid input in field '${name}'`, { fields: [{ name, messages: [message] }] });
}

/** The filters of all lists: fields by their values, of which any may be, and labels. */
function matching(query: URLSearchParams) {
  return (each: object): boolean =>
    ['id', 'name', 'status', 'type', 'architecture', 'fingerprint'].every((field) => {
      const wanted = query.getAll(field);
      return wanted.length === 0 || wanted.includes(String(Reflect.get(each, field)));
    }) && selects(query.get('label_selector'), Reflect.get(each, 'labels'));
}

/** `key`, `!key`, `key=value`, `key==value` and `key!=value`. */
function selects(selector: string | null, labels: Record<string, string> = {}): boolean {
  if (selector === null || selector === '') return true;
  return selector.split(',').every((term) => {
    const [, not, key = '', sign, value] = /^(!?)([^=!]+)(?:(==?|!=)(.*))?$/.exec(term) ?? [];
    if (sign === undefined) return key in labels !== (not === '!');
    return (labels[key] === value) === (sign !== '!=');
  });
}

function shown(server: FakeHetznerServer, { images }: Pick<State, 'images'>): Record<string, unknown> {
  const { id, name, status, locked, type, location, labels, ipv4, networks, protection, created } = server;
  const six = `2a01:4f8:${(id % 0xffff).toString(16)}::`;
  const image = images.get(server.image);
  return {
    ...{ id, name, status, locked, created, labels, protection, volumes: [], load_balancers: [], iso: null },
    ...{ backup_window: null, rescue_enabled: false, placement_group: null, primary_disk_size: 40 },
    ...{ included_traffic: 21_990_232_555_520, outgoing_traffic: 0, ingoing_traffic: 0 },
    public_net: {
      ipv4: ipv4 === null ? null : { id: id + 1, ip: ipv4, blocked: false, dns_ptr: `static.${ipv4}.example` },
      ipv6: ipv4 === null ? null : { id: id + 2, ip: `${six}/64`, blocked: false, dns_ptr: [] },
      ...{ floating_ips: [], firewalls: [] },
    },
    private_net: networks.map((network, place) => ({
      ...{ network, ip: `10.0.${place}.2`, alias_ips: [], mac_address: '86:00:ff:2a:7d:e1' },
    })),
    server_type: TYPES.find((each) => each.name === type),
    location: LOCATIONS.find((each) => each.name === location),
    image: image === undefined ? null : shownImage(image),
  };
}

function shownNetwork({ id, name, ip_range, labels, subnets }: FakeNetwork, { servers }: Pick<State, 'servers'>) {
  return {
    ...{ id, name, ip_range, labels, subnets, routes: [], load_balancers: [], expose_routes_to_vswitch: false },
    servers: [...servers.values()].filter(({ networks }) => networks.includes(id)).map((server) => server.id),
    ...{ protection: { delete: false }, created: '2026-01-01T00:00:00+00:00' },
  };
}

/** Something that is accepted now and done later, unless it then fails. */
function begin(world: World, command: string, id: number, milliseconds: number, apply: () => void): FakeAction {
  const error = world.failing.get(command) ?? null;
  world.failing.delete(command);
  const action: FakeAction = {
    ...{ id: world.newId(), command, status: 'running', progress: 0, finished: null, error: null },
    ...{ started: new Date().toISOString(), resources: [{ id, type: 'server' }] },
  };
  world.actions.set(action.id, action);
  world.later(milliseconds, () => {
    action.status = error === null ? 'success' : 'error';
    action.error = error;
    action.progress = 100;
    action.finished = new Date().toISOString();
    if (error === null) apply();
  });
  return structuredClone(action);
}

/** `/servers/1/actions`, `/servers/1/actions/2`, and the same without the server. */
function actionsOf(
  { actions }: World,
  collection: string,
  id: number | null,
  action: string | undefined,
  query: URLSearchParams,
): FakeReply {
  const type = collection.replace(/s$/, '');
  const known = [...actions.values()].filter(({ resources }) =>
    resources.some((resource) => resource.type === type && (id === null || resource.id === id)),
  );
  if (action !== undefined) return one('actions', known, Number(action));
  return page('actions', known.filter(matching(query)), query);
}

const LABEL = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;

function labelProblem(labels: Record<string, string>): FakeReply | null {
  for (const [key, value] of Object.entries(labels)) {
    if (key === '' || !LABEL.test(key) || !LABEL.test(value)) return invalid('labels', `invalid label ${key}`);
  }
  return null;
}

function createServer(world: World, wanted: Json): FakeReply {
  const { servers, keys, networks, images, created, settle } = world;
  if (world.refusing.creates !== null) {
    const { status, code, message } = world.refusing.creates;
    return refusal(status, code, message);
  }
  const type = TYPES.find(({ id, name }) => [id, name].includes(wanted.server_type));
  const image = [...images.values()].find(
    ({ id, name, architecture }) =>
      id === wanted.image || (name === wanted.image && architecture === (type?.architecture ?? 'x86')),
  );
  if (!/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(wanted.name ?? '')) return invalid('name', 'invalid server name');
  if ('datacenter' in wanted) return invalid('datacenter', 'was removed, use location');
  if (type === undefined) return invalid('server_type', 'server type not found');
  const location = wanted.location ?? 'fsn1';
  if (!LOCATIONS.some(({ id, name }) => [String(id), name].includes(String(location)))) {
    return invalid('location', 'location not found');
  }
  const place = type.locations.find(({ name }) => name === location);
  if (place === undefined) return refusal(422, 'unsupported_error', 'unsupported location for server type');
  if (place.deprecation !== null) return refusal(422, 'invalid_server_type', 'server type is deprecated');
  if (!place.available) return refusal(412, 'resource_unavailable', `server type ${type.id} is sold out`);
  if (image === undefined || image.architecture !== type.architecture) return invalid('image', 'image not found');
  const labels: Record<string, string> = wanted.labels ?? {};
  const wrong = labelProblem(labels);
  if (wrong !== null) return wrong;
  if ((wanted.ssh_keys ?? []).some((id: number) => !keys.has(id))) return invalid('ssh_keys', 'not found');
  if ((wanted.networks ?? []).some((id: number) => !networks.has(id))) return invalid('networks', 'not found');
  if (Buffer.byteLength(wanted.user_data ?? '') > 32_768) return invalid('user_data', 'must be at most 32768 bytes');
  if ([...servers.values()].some(({ name }) => name === wanted.name)) {
    return refusal(409, 'uniqueness_error', 'server name is already used', { fields: [{ name: 'name' }] });
  }
  const isPublic = wanted.public_net?.enable_ipv4 !== false;
  const id = world.newId();
  const given: number[] = wanted.ssh_keys ?? [];
  const server: FakeHetznerServer = {
    ...{ id, name: wanted.name, status: 'initializing', locked: true, type: type.name, location },
    ...{
      labels,
      ipv4: isPublic ? `116.203.${id >> 8}.${id & 255}` : null,
      keys: given,
      userData: wanted.user_data ?? '',
    },
    ...{ networks: wanted.networks ?? [], protection: { delete: false, rebuild: false } },
    image: image.id,
    rootPassword: given.length === 0 ? `once-${randomBytes(12).toString('hex')}` : null,
    created: new Date().toISOString(),
  };
  servers.set(id, server);
  const operation = labels['provisioning-operation'] ?? '';
  created.set(operation, (created.get(operation) ?? 0) + 1);
  // Without any network it is made, and cannot be started.
  const starts = wanted.start_after_create !== false && (isPublic || server.networks.length > 0);
  const action = begin(world, 'create_server', id, settle.create / 2, () => {
    server.status = starts ? 'starting' : 'off';
    server.locked = starts;
  });
  const next = starts ? begin(world, 'start_server', id, settle.create, () => comeUp(world, server)) : null;
  if (next !== null) world.later(settle.create, () => afterFailure(world, server, next.id));
  const { rootPassword: root_password } = server;
  const next_actions = next === null ? [] : [next];
  return ok({ server: shown(server, world), action, next_actions, root_password }, 201);
}

function comeUp({ leavesOff }: World, server: FakeHetznerServer): void {
  if (server.status === 'deleting') return;
  server.locked = false;
  server.status = leavesOff.starts > 0 ? 'off' : 'running';
  if (leavesOff.starts > 0) leavesOff.starts -= 1;
}

/** A start that failed leaves the server off. */
function afterFailure({ actions }: World, server: FakeHetznerServer, action: number): void {
  if (actions.get(action)?.status !== 'error' || server.status === 'deleting') return;
  server.status = 'off';
  server.locked = false;
}

function changeServer(world: World, id: number, method: string, action: string | undefined, body: Json): FakeReply {
  const server = world.servers.get(id);
  if (server === undefined) return refusal(404, 'not_found', `server with ID '${id}' not found`);
  if (action !== undefined) return method === 'POST' ? act(world, server, action, body) : noRoute();
  if (method === 'PUT') {
    const wrong = body.labels === undefined ? null : labelProblem(body.labels);
    if (wrong !== null) return wrong;
    server.name = body.name || server.name;
    server.labels = body.labels ?? server.labels;
    return ok({ server: shown(server, world) });
  }
  if (method !== 'DELETE') return noRoute();
  if (server.protection.delete) return refusal(403, 'protected', 'server deletion is protected');
  if (server.locked) return refusal(423, 'locked', 'server is locked');
  server.status = 'deleting';
  server.locked = true;
  return ok({ action: begin(world, 'delete_server', id, world.settle.remove, () => world.servers.delete(id)) });
}

function act(world: World, server: FakeHetznerServer, action: string, body: Json): FakeReply {
  const { settle } = world;
  if (server.locked) return refusal(423, 'locked', 'server is locked');
  const become = (status: string) => () => {
    if (server.status !== 'deleting') server.status = status;
  };
  const started = (command: string, milliseconds: number, apply: () => void, besides = {}) =>
    ok({ action: begin(world, command, server.id, milliseconds, apply), ...besides }, 201);
  const off = server.status === 'off';
  switch (action) {
    case 'poweron': {
      if (!off) return started('start_server', 0, () => {});
      server.status = 'starting';
      const reply = started('start_server', settle.start, () => comeUp(world, server));
      const id: number = Reflect.get(Object(reply.body), 'action').id;
      world.later(settle.start, () => afterFailure(world, server, id));
      return reply;
    }
    case 'shutdown':
      if (off) return refusal(409, 'conflict', 'server is not running');
      return started('shutdown_server', settle.stop, world.stubborn.systems ? () => {} : become('off'));
    case 'poweroff':
      return started('stop_server', settle.stop, become('off'));
    case 'reset':
    case 'reboot':
      if (off) return refusal(409, 'conflict', 'server is not running');
      return started(`${action}_server`, 0, () => {});
    case 'change_type': {
      const type = TYPES.find(({ id, name }) => [id, name].includes(body.server_type));
      if (type === undefined) return invalid('server_type', 'server type not found');
      if (typeof body.upgrade_disk !== 'boolean') return invalid('upgrade_disk', 'is required');
      if (!off) return refusal(422, 'server_not_stopped', 'server must be stopped');
      if (type.name === server.type) return refusal(422, 'invalid_server_type', 'server is of this type already');
      server.locked = true;
      return started('change_server_type', settle.stop + settle.start, () => {
        server.type = type.name;
        comeUp(world, server);
      });
    }
    case 'rebuild': {
      const image = [...world.images.values()].find(({ id, name }) => [id, name].includes(body.image));
      if (image === undefined) return invalid('image', 'image not found');
      server.status = 'rebuilding';
      server.image = image.id;
      return started('rebuild_server', settle.create, become('running'), { root_password: null });
    }
    case 'create_image': {
      const image: FakeImage = {
        ...{ id: world.newId(), type: body.type ?? 'snapshot', status: 'creating', name: null },
        ...{ description: body.description ?? 'snapshot', labels: body.labels ?? {} },
        architecture: TYPES.find(({ name }) => name === server.type)?.architecture ?? 'x86',
        created_from: { id: server.id, name: server.name },
      };
      world.images.set(image.id, image);
      const besides = { image: shownImage(image) };
      return started('create_image', settle.stop, () => Object.assign(image, { status: 'available' }), besides);
    }
    case 'change_protection':
      Object.assign(server.protection, body);
      return started('change_protection', 0, () => {});
    case 'attach_to_network':
      if (!world.networks.has(body.network)) return invalid('network', 'not found');
      if (server.networks.includes(body.network)) return refusal(409, 'server_already_attached', 'is attached');
      return started('attach_to_network', 0, () => server.networks.push(body.network));
    case 'detach_from_network':
      return started('detach_from_network', 0, () => {
        server.networks = server.networks.filter((network) => network !== body.network);
      });
  }
  return refusal(404, 'not_found', 'action not found');
}

function changeKey({ keys, newId }: World, id: number | null, method: string, wanted: Json): FakeReply {
  if (id === null) {
    if (method !== 'POST') return noRoute();
    const { name, public_key: line, labels = {} } = wanted;
    const blob = Buffer.from(String(line).split(' ')[1] ?? '', 'base64');
    if (blob.length === 0) return invalid('public_key', 'not a public key');
    const fingerprint = createHash('md5').update(blob).digest('hex').match(/../g)?.join(':') ?? '';
    if ([...keys.values()].some((key) => key.name === name || key.fingerprint === fingerprint)) {
      return refusal(409, 'uniqueness_error', 'SSH key with the same fingerprint already exists');
    }
    const created = new Date().toISOString();
    const key: FakeKey = { id: newId(), name, fingerprint, public_key: line, labels, created };
    keys.set(key.id, key);
    return ok({ ssh_key: key }, 201);
  }
  const key = keys.get(id);
  if (key === undefined) return refusal(404, 'not_found', `ssh_key with ID '${id}' not found`);
  if (method === 'PUT') return ok({ ssh_key: Object.assign(key, wanted) });
  if (method !== 'DELETE') return noRoute();
  keys.delete(id);
  return { status: 204 };
}

function changeNetwork(world: World, id: number | null, method: string, wanted: Json): FakeReply {
  const { networks, newId } = world;
  if (id === null) {
    if (method !== 'POST') return noRoute();
    if (!/^10\.\d+\.\d+\.\d+\/\d+$/.test(wanted.ip_range ?? '')) return invalid('ip_range', 'must be private');
    const { name, ip_range, labels = {}, subnets = [] } = wanted;
    if ([...networks.values()].some((each) => each.name === name)) {
      return refusal(409, 'uniqueness_error', 'network name is already used', { fields: [{ name: 'name' }] });
    }
    const network: FakeNetwork = { id: newId(), name, ip_range, labels, subnets };
    networks.set(network.id, network);
    return ok({ network: shownNetwork(network, world) }, 201);
  }
  const network = networks.get(id);
  if (network === undefined) return refusal(404, 'not_found', `network with ID '${id}' not found`);
  if (method === 'PUT') return ok({ network: shownNetwork(Object.assign(network, wanted), world) });
  if (method !== 'DELETE') return noRoute();
  networks.delete(id);
  return { status: 204 };
}

function changeImage({ images }: World, id: number | null, method: string, wanted: Json): FakeReply {
  const image = images.get(id ?? 0);
  if (image === undefined) return refusal(404, 'not_found', `image with ID '${id}' not found`);
  if (method === 'PUT') return ok({ image: shownImage(Object.assign(image, wanted)) });
  if (method !== 'DELETE') return noRoute();
  if (image.type === 'system') return refusal(403, 'forbidden', 'system images cannot be deleted');
  images.delete(image.id);
  return { status: 204 };
}

/** A stand-in for EC2: its Query protocol with XML answers, as far as servers go, after its documentation. */
import { randomBytes } from 'node:crypto';
import { createLists, type Fake, type FakeReply, type FakeRequest, type FakeSettings, startFake } from './fake.ts';

export interface FakeAwsSettings extends FakeSettings {
  /** Milliseconds that each change takes to settle. */
  settle?: { create?: number; stop?: number; start?: number; remove?: number };
  /** Milliseconds after which a new instance shows in lists. */
  listingLagMs?: number;
}

export interface FakeAwsInstance {
  id: string;
  state: string;
  type: string;
  zone: string;
  image: string;
  tags: Map<string, string>;
  publicIp: string | null;
  privateIp: string;
  userData: string;
  token: string;
  /** All parameters of its creation, for the comparison of tokens. */
  parameters: string;
  /** Its disk goes with it. */
  deleteVolume: boolean;
  createdAt: number;
}

export interface FakeAws extends Fake {
  credentials: { accessKeyId: string; secretAccessKey: string };
  region: string;
  /** Ids of the access keys that are accepted: the one above, until it is taken out. */
  accepted: Set<string>;
  instances: Map<string, FakeAwsInstance>;
  /** Disks by instance: a terminated instance may leave its own. */
  volumes: Set<string>;
  /** Creates that took effect so far, by operation tag. */
  created: Map<string, number>;
  /** Creates are refused so until this is null again. */
  refusing: { creates: { status: number; code: string; message: string } | null };
  /** Instances that are there: not terminated. */
  alive(): FakeAwsInstance[];
}

const ZONES = ['eu-central-1a', 'eu-central-1b', 'eu-central-1c'];
const TYPES: [name: string, cpus: number, memory: number, zones: string[]][] = [
  ['t2.micro', 1, 1_024, ZONES],
  ['t2.small', 1, 2_048, ZONES],
  ['t3.small', 2, 2_048, ZONES],
  ['t3.medium', 2, 4_096, ZONES],
  ['t2.medium', 2, 4_096, ZONES],
  ['c6i.large', 2, 4_096, ZONES],
  ['c6i.xlarge', 4, 8_192, ['eu-central-1a', 'eu-central-1b']],
  ['t3.nano', 2, 512, ZONES],
];
const IMAGES: [id: string, owner: string, name: string, created: string][] = [
  ['ami-0000000000000debi', '136693071363', 'debian-12-amd64-20240201-1644', '2024-02-01T00:00:00.000Z'],
  ['ami-00000000000debian', '136693071363', 'debian-12-amd64-20240901-1857', '2024-09-01T00:00:00.000Z'],
  [
    'ami-00000000000ubuntu',
    '099720109477',
    'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20240801',
    '2024-08-01T00:00:00.000Z',
  ],
  ['ami-0123456789abcdef0', '123456789012', 'golden', '2024-08-01T00:00:00.000Z'],
];
const CODES: Record<string, number> = {
  pending: 0,
  running: 16,
  'shutting-down': 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
};

export async function startFakeAws(settings: FakeAwsSettings = {}): Promise<FakeAws> {
  const settle = { create: 20, stop: 20, start: 20, remove: 20, ...settings.settle };
  const lag = settings.listingLagMs ?? 0;
  const credentials = {
    accessKeyId: `AKIA${randomBytes(8).toString('hex').toUpperCase()}`,
    secretAccessKey: randomBytes(20).toString('hex'),
  };
  const state: State = {
    instances: new Map(),
    volumes: new Set(),
    created: new Map(),
    refusing: { creates: null },
  };
  const due: { at: number; apply: () => void }[] = [];
  const later: Later = (milliseconds, apply) => due.push({ at: performance.now() + milliseconds, apply });
  const catchUp = () => {
    due.sort((a, b) => a.at - b.at);
    while (due[0] !== undefined && due[0].at <= performance.now()) due.shift()?.apply();
  };

  const lists = createLists(settings, state.instances);
  const accepted = new Set([credentials.accessKeyId]);
  const handle = (request: FakeRequest): FakeReply => {
    catchUp();
    lists.remember();
    const parameters = new URLSearchParams(request.text);
    const key = /Credential=([^/]+)\/\d{8}\/([^/]+)\/ec2/.exec(request.headers.authorization ?? '');
    if (!accepted.has(key?.[1] ?? '') || key?.[2] !== 'eu-central-1') {
      return refusal(401, 'AuthFailure', 'AWS was not able to validate the provided access credentials');
    }
    const action = parameters.get('Action') ?? '';
    switch (action) {
      case 'DescribeAvailabilityZones':
        return reply(action, { availabilityZoneInfo: { item: ZONES.map(zoneItem) } });
      case 'DescribeInstanceTypeOfferings':
        return reply(action, { instanceTypeOfferingSet: { item: TYPES.flatMap(offerItems) } });
      case 'DescribeInstanceTypes':
        return reply(action, { instanceTypeSet: { item: TYPES.map(typeItem) } });
      case 'DescribeImages':
        return describeImages(parameters);
      case 'DescribeInstances':
        return describeInstances(
          isForOne(parameters) ? [...state.instances.values()] : lists.rows(JSON.stringify(filtersOf(parameters))),
          parameters,
          lag,
        );
      case 'RunInstances':
        return runInstances(state, parameters, settle.create, later);
      case 'StartInstances':
      case 'StopInstances':
      case 'RebootInstances':
      case 'TerminateInstances':
        return changeInstance(state, action, parameters, settle, later);
      case 'CreateTags':
      case 'DeleteTags':
        return changeTags(state, action, parameters);
      case 'ModifyInstanceAttribute':
        return modifyInstance(state, parameters);
    }
    return refusal(400, 'InvalidAction', `The action ${action} is not valid for this web service.`);
  };

  const fake = await startFake(settings, handle, {
    changes: ({ text }) => !/(^|&)Action=Describe/.test(text),
    throttled: refusal(503, 'RequestLimitExceeded', 'Request limit exceeded.'),
    serverError: refusal(500, 'InternalError', 'An internal error has occurred'),
  });
  return Object.assign(fake, state, {
    credentials,
    accepted,
    region: 'eu-central-1',
    alive: () => [...state.instances.values()].filter((instance) => instance.state !== 'terminated'),
  });
}

type State = Pick<FakeAws, 'instances' | 'volumes' | 'created' | 'refusing'>;
type Later = (milliseconds: number, apply: () => void) => void;

/** An object as XML: arrays repeat their element, null and undefined leave it out. */
function xml(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'object') {
    return String(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  }
  return Object.entries(value)
    .flatMap(([name, content]) => (Array.isArray(content) ? content : [content]).map((each) => [name, each] as const))
    .map(([name, content]) => (content === null || content === undefined ? '' : `<${name}>${xml(content)}</${name}>`))
    .join('');
}

function reply(action: string, body: object): FakeReply {
  const content = xml({ requestId: randomBytes(8).toString('hex'), ...body });
  const tag = `${action}Response`;
  return {
    status: 200,
    contentType: 'text/xml;charset=UTF-8',
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<${tag} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${content}</${tag}>`,
  };
}

function refusal(status: number, code: string, message: string): FakeReply {
  const content = xml({
    Errors: { Error: { Code: code, Message: message } },
    RequestID: randomBytes(8).toString('hex'),
  });
  return {
    status,
    contentType: 'text/xml;charset=UTF-8',
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<Response>${content}</Response>`,
  };
}

function zoneItem(zoneName: string, place: number) {
  return {
    zoneName,
    zoneState: 'available',
    regionName: 'eu-central-1',
    zoneId: `euc1-az${place}`,
    zoneType: 'availability-zone',
  };
}

function offerItems([instanceType, , , zones]: (typeof TYPES)[number]) {
  return zones.map((location) => ({ instanceType, locationType: 'availability-zone', location }));
}

function typeItem([instanceType, defaultVCpus, sizeInMiB]: (typeof TYPES)[number]) {
  return { instanceType, bareMetal: false, vCpuInfo: { defaultVCpus }, memoryInfo: { sizeInMiB } };
}

/** `Filter.1.Name` with its `Filter.1.Value.…`. */
function filtersOf(parameters: URLSearchParams): { name: string; values: string[] }[] {
  const filters: { name: string; values: string[] }[] = [];
  for (let at = 1; parameters.has(`Filter.${at}.Name`); at++) {
    filters.push({ name: parameters.get(`Filter.${at}.Name`) ?? '', values: listOf(parameters, `Filter.${at}.Value`) });
  }
  return filters;
}

function listOf(parameters: URLSearchParams, name: string): string[] {
  const values: string[] = [];
  for (let at = 1; parameters.has(`${name}.${at}`); at++) values.push(parameters.get(`${name}.${at}`) ?? '');
  return values;
}

function matches(pattern: string, text: string): boolean {
  const escaped = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${escaped}$`).test(text);
}

function describeImages(parameters: URLSearchParams): FakeReply {
  const owners = listOf(parameters, 'Owner');
  const found = IMAGES.filter(([id, owner, name]) => {
    const facts: Record<string, string> = { 'image-id': id, name, state: 'available' };
    return (
      (owners.length === 0 || owners.includes(owner)) &&
      filtersOf(parameters).every((filter) => filter.values.some((value) => matches(value, facts[filter.name] ?? '')))
    );
  });
  const item = found.map(([imageId, imageOwnerId, name, creationDate]) => ({
    ...{ imageId, imageOwnerId, name, creationDate, imageState: 'available', architecture: 'x86_64' },
    rootDeviceName: '/dev/xvda',
  }));
  return reply('DescribeImages', { imagesSet: { item } });
}

/** An instance that is asked for by its id is shown as it is. */
function isForOne(parameters: URLSearchParams): boolean {
  return filtersOf(parameters).some(({ name }) => name === 'instance-id');
}

function describeInstances(
  instances: readonly FakeAwsInstance[],
  parameters: URLSearchParams,
  lagMs: number,
): FakeReply {
  const size = Number(parameters.get('MaxResults') ?? 1_000);
  if (size < 5 || size > 1_000)
    return refusal(400, 'InvalidParameterValue', `Value (${size}) for parameter maxResults is invalid.`);
  const found = instances.filter(
    (instance) =>
      performance.now() - instance.createdAt >= lagMs &&
      filtersOf(parameters).every(({ name, values }) => {
        if (name === 'tag-key') return values.some((value) => instance.tags.has(value));
        if (name === 'instance-id') return values.includes(instance.id);
        if (name.startsWith('tag:')) return values.includes(instance.tags.get(name.slice(4)) ?? '\0');
        return false;
      }),
  );
  const start = Number(Buffer.from(parameters.get('NextToken') ?? '', 'base64').toString() || 0);
  const page = found.slice(start, start + size);
  const next = start + size < found.length ? Buffer.from(String(start + size)).toString('base64') : null;
  const item = page.map((instance) => ({
    reservationId: `r-${instance.id.slice(2)}`,
    ownerId: '123456789012',
    instancesSet: { item: [instanceItem(instance)] },
  }));
  return reply('DescribeInstances', { reservationSet: { item }, nextToken: next });
}

function instanceItem(instance: FakeAwsInstance) {
  const { id, state, type, zone, image, tags, publicIp, privateIp } = instance;
  const gone = state === 'terminated';
  return {
    instanceId: id,
    imageId: image,
    instanceState: { code: CODES[state], name: state },
    instanceType: type,
    launchTime: new Date().toISOString(),
    placement: { availabilityZone: zone },
    privateIpAddress: gone ? null : privateIp,
    ipAddress: gone || state === 'pending' || state === 'stopped' ? null : publicIp,
    tagSet: { item: [...tags].map(([key, value]) => ({ key, value })) },
  };
}

/** Tags by the kind of thing they are for. */
function tagsFor(parameters: URLSearchParams, kind: string): Map<string, string> {
  for (let at = 1; parameters.has(`TagSpecification.${at}.ResourceType`); at++) {
    const prefix = `TagSpecification.${at}`;
    if (parameters.get(`${prefix}.ResourceType`) !== kind) continue;
    const tags = new Map<string, string>();
    for (let tag = 1; parameters.has(`${prefix}.Tag.${tag}.Key`); tag++) {
      tags.set(parameters.get(`${prefix}.Tag.${tag}.Key`) ?? '', parameters.get(`${prefix}.Tag.${tag}.Value`) ?? '');
    }
    return tags;
  }
  return new Map();
}

function runInstances(state: State, parameters: URLSearchParams, settleMs: number, later: Later): FakeReply {
  const token = parameters.get('ClientToken') ?? '';
  const all = [...parameters].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const compared = JSON.stringify(all.filter(([name]) => !['ClientToken', 'Action', 'Version'].includes(name)));
  const earlier = [...state.instances.values()].find((instance) => token !== '' && instance.token === token);
  if (earlier !== undefined) {
    if (earlier.parameters !== compared) {
      return refusal(
        400,
        'IdempotentParameterMismatch',
        'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
      );
    }
    return reply('RunInstances', { reservationId: 'r-1', instancesSet: { item: [instanceItem(earlier)] } });
  }
  if (state.refusing.creates !== null) {
    const { status, code, message } = state.refusing.creates;
    return refusal(status, code, message);
  }
  const type = TYPES.find(([name]) => name === parameters.get('InstanceType'));
  const zone = parameters.get('Placement.AvailabilityZone') ?? '';
  const image = parameters.get('ImageId') ?? '';
  if (type === undefined) return refusal(400, 'InvalidParameterValue', 'Invalid value for InstanceType.');
  if (!type[3].includes(zone))
    return refusal(400, 'Unsupported', 'The requested configuration is currently not supported.');
  if (!IMAGES.some(([id]) => id === image))
    return refusal(400, 'InvalidAMIID.NotFound', `The image id '[${image}]' does not exist`);
  const subnet = parameters.get('NetworkInterface.1.SubnetId');
  const isPublic = parameters.get('NetworkInterface.1.AssociatePublicIpAddress') !== 'false';
  if (subnet !== null && parameters.has('SecurityGroupId.1')) {
    return refusal(
      400,
      'InvalidParameterCombination',
      'Network interfaces and an instance-level security groups may not be specified on the same request',
    );
  }
  const tags = tagsFor(parameters, 'instance');
  const bytes = randomBytes(8);
  const instance: FakeAwsInstance = {
    ...{ id: `i-0${bytes.toString('hex')}`, state: 'pending', type: type[0], zone, image, tags, token },
    publicIp: isPublic ? `18.${bytes[0]}.${bytes[1]}.${bytes[2]}` : null,
    privateIp: `172.31.${bytes[3]}.${bytes[4]}`,
    userData: Buffer.from(parameters.get('UserData') ?? '', 'base64').toString(),
    parameters: compared,
    deleteVolume: parameters.get('BlockDeviceMapping.1.Ebs.DeleteOnTermination') === 'true',
    createdAt: performance.now(),
  };
  state.instances.set(instance.id, instance);
  state.volumes.add(instance.id);
  const operation = tags.get('provisioning-operation') ?? '';
  state.created.set(operation, (state.created.get(operation) ?? 0) + 1);
  become(instance, 'running', settleMs, later);
  return reply('RunInstances', { reservationId: 'r-1', instancesSet: { item: [instanceItem(instance)] } });
}

function become(instance: FakeAwsInstance, state: string, milliseconds: number, later: Later, then = () => {}): void {
  later(milliseconds, () => {
    if (instance.state === 'terminated' || (instance.state === 'shutting-down' && state !== 'terminated')) return;
    instance.state = state;
    then();
  });
}

function changeInstance(
  state: State,
  action: string,
  parameters: URLSearchParams,
  settle: { stop: number; start: number; remove: number },
  later: Later,
): FakeReply {
  const [id = ''] = listOf(parameters, 'InstanceId');
  const instance = state.instances.get(id);
  if (!/^i-[0-9a-f]+$/.test(id)) return refusal(400, 'InvalidInstanceID.Malformed', `Invalid id: "${id}"`);
  if (instance === undefined) {
    return refusal(400, 'InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
  }
  const illegal = (wanted: string) =>
    refusal(400, 'IncorrectInstanceState', `The instance '${id}' is not in a state from which it can be ${wanted}.`);
  switch (action) {
    case 'StartInstances':
      if (!['running', 'pending', 'stopped'].includes(instance.state)) return illegal('started');
      if (instance.state === 'stopped') {
        instance.state = 'pending';
        become(instance, 'running', settle.start, later);
      }
      break;
    case 'StopInstances':
      if (!['running', 'stopping', 'stopped'].includes(instance.state)) return illegal('stopped');
      if (instance.state === 'running') {
        instance.state = 'stopping';
        become(instance, 'stopped', settle.stop, later);
      }
      break;
    case 'RebootInstances':
      if (instance.state !== 'running') return illegal('rebooted');
      break;
    default:
      if (instance.state !== 'terminated' && instance.state !== 'shutting-down') {
        instance.state = 'shutting-down';
        become(instance, 'terminated', settle.remove, later, () => {
          if (instance.deleteVolume) state.volumes.delete(instance.id);
        });
      }
  }
  if (action === 'RebootInstances') return reply(action, { return: true });
  const currentState = { code: CODES[instance.state], name: instance.state };
  return reply(action, { instancesSet: { item: [{ instanceId: id, currentState, previousState: currentState }] } });
}

function changeTags(state: State, action: string, parameters: URLSearchParams): FakeReply {
  for (const id of listOf(parameters, 'ResourceId')) {
    const instance = state.instances.get(id);
    if (instance === undefined)
      return refusal(400, 'InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
    for (let at = 1; parameters.has(`Tag.${at}.Key`); at++) {
      const key = parameters.get(`Tag.${at}.Key`) ?? '';
      if (action === 'DeleteTags') instance.tags.delete(key);
      else instance.tags.set(key, parameters.get(`Tag.${at}.Value`) ?? '');
    }
  }
  return reply(action, { return: true });
}

function modifyInstance(state: State, parameters: URLSearchParams): FakeReply {
  const id = parameters.get('InstanceId') ?? '';
  const instance = state.instances.get(id);
  const type = TYPES.find(([name]) => name === parameters.get('InstanceType.Value'));
  if (instance === undefined) {
    return refusal(400, 'InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
  }
  if (type === undefined) return refusal(400, 'InvalidInstanceAttributeValue', 'Invalid value for InstanceType.');
  if (instance.state !== 'stopped') {
    return refusal(400, 'IncorrectInstanceState', `The instance '${id}' is not in the 'stopped' state.`);
  }
  instance.type = type[0];
  return reply('ModifyInstanceAttribute', { return: true });
}

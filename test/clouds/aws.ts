/**
 * A stand-in for EC2: its Query protocol, as far as servers go, after its documentation and botocore's model of it. Requests
 * must be signed.
 */
import { randomBytes } from 'node:crypto';
import {
  changeKeys,
  describeImages,
  describeNetwork,
  describeOfferings,
  describeTypes,
  describeZones,
  GROUP,
  IMAGES,
  SUBNETS,
  TYPES,
  VPC,
} from './aws-catalog.ts';
import { filtered, filtersOf, isReply, listOf, paged, refusal, reply } from './aws-wire.ts';
import { createLists, type Fake, type FakeReply, type FakeRequest, type FakeSettings, startFake } from './fake.ts';
import { verifySignature } from './sigv4.ts';

export interface FakeAwsSettings extends FakeSettings {
  /** Milliseconds that each change takes to settle. */
  settle?: { create?: number; stop?: number; start?: number; remove?: number };
  /** Milliseconds after which a new instance shows in lists. */
  listingLagMs?: number;
  /**
   * `tagged` (the default): those of the policy in docs/providers/aws.md, which hang on an instance's tags, so that nobody may
   * change one that EC2 has forgotten. `all`: those of the account's owner.
   */
  rights?: 'tagged' | 'all';
  /** Whether the account has a default network (the default). */
  defaultVpc?: boolean;
}

export interface FakeAwsInstance {
  id: string;
  state: string;
  /** Why it is not running any more. */
  reason: { code: string; message: string } | null;
  type: string;
  zone: string;
  image: string;
  tags: Map<string, string>;
  subnet: string;
  publicIp: string | null;
  privateIp: string;
  keyName: string | null;
  userData: string;
  token: string;
  /** All parameters of its creation, for the comparison of tokens. */
  parameters: string;
  /** Its disk goes with it. */
  deleteVolume: boolean;
  /** It cannot be terminated. */
  isProtected: boolean;
  createdAt: number;
}

export interface FakeAws extends Fake {
  credentials: { accessKeyId: string; secretAccessKey: string };
  region: string;
  /** Ids of the access keys that are accepted, all with that secret: the one above, until it is taken out. */
  accepted: Set<string>;
  /** A terminated one is listed until it is taken out of here: EC2 forgets it after an hour. */
  instances: Map<string, FakeAwsInstance>;
  /** Disks by instance: a terminated instance may leave its own. */
  volumes: Set<string>;
  /** Key pairs by name. */
  keys: Map<string, string>;
  /** Creates that took effect so far, by operation tag. */
  created: Map<string, number>;
  /** Creates are refused so until this is null again. */
  refusing: { creates: { status: number; code: string; message: string } | null };
  /** Instances end so soon after they were accepted, until this is null again. */
  ending: { launches: { code: string; message: string } | null };
  /** Actions that the account's policy does not allow, whatever the instance. */
  denied: Set<string>;
  /** Instances that are there: not terminated. */
  alive(): FakeAwsInstance[];
}

const CODES: Record<string, number> = {
  pending: 0,
  running: 16,
  'shutting-down': 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
};
/** Of a user's request. */
const BY_USER = {
  code: 'Client.UserInitiatedShutdown',
  message: 'Client.UserInitiatedShutdown: User initiated shutdown',
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
    keys: new Map(),
    created: new Map(),
    refusing: { creates: null },
    ending: { launches: null },
    denied: new Set(),
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
    const signer = verifySignature(request, (id) => (accepted.has(id) ? credentials.secretAccessKey : undefined));
    if (signer === 'expired') return refusal(400, 'RequestExpired', 'Request has expired.');
    if (typeof signer === 'string' || signer.region !== 'eu-central-1' || signer.service !== 'ec2') {
      return refusal(401, 'AuthFailure', 'AWS was not able to validate the provided access credentials');
    }
    const action = parameters.get('Action') ?? '';
    const forbidden = settings.rights === 'all' ? null : whatIsForbidden(state, action, parameters);
    if (forbidden !== null) return forbidden;
    if (parameters.get('DryRun') === 'true') {
      return refusal(412, 'DryRunOperation', 'Request would have succeeded, but DryRun flag is set.');
    }
    switch (action) {
      case 'DescribeAvailabilityZones':
        return describeZones(action);
      case 'DescribeInstanceTypeOfferings':
        return describeOfferings(action, parameters);
      case 'DescribeInstanceTypes':
        return describeTypes(action, parameters);
      case 'DescribeImages':
        return describeImages(action, parameters);
      case 'DescribeVpcs':
      case 'DescribeSubnets':
      case 'DescribeSecurityGroups':
        return describeNetwork(action);
      case 'DescribeInstances':
        return describeInstances(
          isForOne(parameters) ? [...state.instances.values()] : lists.rows(JSON.stringify(filtersOf(parameters))),
          parameters,
          lag,
        );
      case 'RunInstances':
        return runInstances(state, parameters, { settleMs: settle.create, defaultVpc: settings.defaultVpc }, later);
      case 'StartInstances':
      case 'StopInstances':
      case 'RebootInstances':
      case 'TerminateInstances':
        return changeInstances(state, action, parameters, settle, later);
      case 'CreateTags':
      case 'DeleteTags':
        return changeTags(state, action, parameters);
      case 'ModifyInstanceAttribute':
        return modifyInstance(state, parameters);
    }
    const answer = changeKeys(state.keys, action, parameters);
    return answer ?? refusal(400, 'InvalidAction', `The action ${action} is not valid for this web service.`);
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

type State = Pick<FakeAws, 'instances' | 'volumes' | 'keys' | 'created' | 'refusing' | 'ending' | 'denied'>;
type Later = (milliseconds: number, apply: () => void) => void;

/** What EC2 has forgotten carries no tags, on which the rights hang: it says so before it says that there is none. */
function whatIsForbidden(state: State, action: string, parameters: URLSearchParams): FakeReply | null {
  if (state.denied.has(action)) return unauthorized(action, '*');
  const rights = /^(Start|Stop|Reboot|Terminate)Instances$|^ModifyInstanceAttribute$|^(Create|Delete)Tags$/;
  if (!rights.test(action)) return null;
  const asked = [
    ...listOf(parameters, 'InstanceId'),
    ...listOf(parameters, 'ResourceId'),
    parameters.get('InstanceId'),
  ];
  const gone = asked.find((id) => id !== null && /^i-[0-9a-f]+$/.test(id) && !state.instances.has(id));
  return gone ? unauthorized(action, gone) : null;
}

function unauthorized(action: string, instance: string): FakeReply {
  return refusal(
    403,
    'UnauthorizedOperation',
    'You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/provisioning is not authorized ' +
      `to perform: ec2:${action} on resource: arn:aws:ec2:eu-central-1:123456789012:instance/${instance} because no ` +
      `identity-based policy allows the ec2:${action} action. Encoded authorization failure message: ${ENCODED}`,
  );
}

/** As long as EC2's are. */
const ENCODED = randomBytes(900).toString('base64url');

/** An instance that is asked for by its id is shown as it is. */
function isForOne(parameters: URLSearchParams): boolean {
  return parameters.has('InstanceId.1') || filtersOf(parameters).some(({ name }) => name === 'instance-id');
}

function describeInstances(
  instances: readonly FakeAwsInstance[],
  parameters: URLSearchParams,
  lagMs: number,
): FakeReply {
  const named = listOf(parameters, 'InstanceId');
  if (named.length > 0 && parameters.has('MaxResults')) {
    return refusal(400, 'InvalidParameterCombination', 'The parameter instancesSet cannot be used with maxResults');
  }
  const shown = instances.filter(({ createdAt }) => performance.now() - createdAt >= lagMs);
  for (const id of named) {
    const wrong = whatIsWrongWith(id, shown);
    if (wrong !== null) return wrong;
  }
  const rows = shown.filter(({ id }) => named.length === 0 || named.includes(id));
  const found = filtered(parameters, rows, (instance, name) => {
    if (name === 'tag-key') return [...instance.tags.keys()];
    if (name === 'instance-id') return [instance.id];
    if (name === 'instance-state-name') return [instance.state];
    if (name === 'instance-type') return [instance.type];
    if (name === 'client-token') return [instance.token];
    return name.startsWith('tag:') ? [instance.tags.get(name.slice(4)) ?? ''].filter(Boolean) : null;
  });
  const pages = isReply(found) ? found : paged(parameters, found, { least: 5, most: 1_000 });
  if (isReply(pages)) return pages;
  const item = pages.page.map((instance) => ({
    reservationId: `r-${instance.id.slice(2)}`,
    ownerId: '123456789012',
    instancesSet: { item: [instanceItem(instance)] },
  }));
  return reply('DescribeInstances', { reservationSet: { item }, nextToken: pages.nextToken });
}

function whatIsWrongWith(id: string, instances: readonly FakeAwsInstance[]): FakeReply | null {
  if (!/^i-[0-9a-f]+$/.test(id)) return refusal(400, 'InvalidInstanceID.Malformed', `Invalid id: "${id}"`);
  if (instances.some((instance) => instance.id === id)) return null;
  return refusal(400, 'InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
}

function instanceItem(instance: FakeAwsInstance) {
  const { id, state, reason, type, zone, image, tags, subnet, publicIp, privateIp, keyName, token } = instance;
  const gone = state === 'terminated';
  return {
    instanceId: id,
    imageId: image,
    instanceState: { code: CODES[state], name: state },
    stateReason: reason,
    instanceType: type,
    keyName,
    clientToken: token,
    launchTime: new Date().toISOString(),
    placement: { availabilityZone: zone },
    ...(gone ? {} : { subnetId: subnet, vpcId: VPC, privateIpAddress: privateIp }),
    ipAddress: gone || state === 'pending' || state === 'stopped' ? null : publicIp,
    architecture: IMAGES.find((each) => each.id === image)?.runs,
    rootDeviceName: '/dev/xvda',
    rootDeviceType: 'ebs',
    groupSet: { item: [{ groupId: GROUP, groupName: 'default' }] },
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

function runInstances(
  state: State,
  parameters: URLSearchParams,
  { settleMs, defaultVpc = true }: { settleMs: number; defaultVpc?: boolean },
  later: Later,
): FakeReply {
  const token = parameters.get('ClientToken') ?? '';
  const all = [...parameters].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const compared = JSON.stringify(all.filter(([name]) => !['ClientToken', 'Action', 'Version'].includes(name)));
  const earlier = [...state.instances.values()].find((instance) => token !== '' && instance.token === token);
  if (earlier !== undefined) return ofEarlier(earlier, compared);
  if (state.refusing.creates !== null) {
    const { status, code, message } = state.refusing.creates;
    return refusal(status, code, message);
  }
  const type = TYPES.find(({ name }) => name === parameters.get('InstanceType'));
  const image = IMAGES.find(({ id }) => id === parameters.get('ImageId'));
  const zone = parameters.get('Placement.AvailabilityZone') ?? SUBNETS[0]?.zone ?? '';
  const subnet = parameters.get('NetworkInterface.1.SubnetId') ?? parameters.get('SubnetId');
  if (parameters.get('MaxCount') !== '1') {
    return refusal(400, 'InvalidParameterValue', 'This account may make one instance at a time.');
  }
  if (type === undefined) return refusal(400, 'InvalidParameterValue', 'Invalid value for InstanceType.');
  if (image === undefined) {
    return refusal(400, 'InvalidAMIID.NotFound', `The image id '[${parameters.get('ImageId')}]' does not exist`);
  }
  if (!type.zones.includes(zone)) {
    return refusal(400, 'Unsupported', 'The requested configuration is currently not supported.');
  }
  if (image.runs !== type.runs) {
    const words = `The architecture '${type.runs}' of the specified instance type does not match the architecture '${image.runs}' of the specified AMI.`;
    return refusal(400, 'InvalidParameterValue', words);
  }
  if (subnet === null && !defaultVpc) return refusal(400, 'VPCIdNotSpecified', 'No default VPC for this user');
  const keyName = parameters.get('KeyName');
  if (keyName !== null && !state.keys.has(keyName)) {
    return refusal(400, 'InvalidKeyPair.NotFound', `The key pair '${keyName}' does not exist`);
  }
  const isPublic = parameters.get('NetworkInterface.1.AssociatePublicIpAddress') !== 'false';
  if (parameters.has('NetworkInterface.1.DeviceIndex') && parameters.has('SecurityGroupId.1')) {
    return refusal(
      400,
      'InvalidParameterCombination',
      'Network interfaces and an instance-level security groups may not be specified on the same request',
    );
  }
  const tags = tagsFor(parameters, 'instance');
  if ([...tags.keys()].some((key) => key.startsWith('aws:'))) return reservedTag();
  const bytes = randomBytes(8);
  const instance: FakeAwsInstance = {
    ...{ id: `i-0${bytes.toString('hex')}`, state: 'pending', reason: null, type: type.name, zone, image: image.id },
    ...{ tags, token, keyName, isProtected: parameters.get('DisableApiTermination') === 'true' },
    subnet: subnet ?? SUBNETS.find((each) => each.zone === zone)?.id ?? '',
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
  const { launches } = state.ending;
  const settled = launches === null ? 'running' : 'terminated';
  become(instance, settled, settleMs, later, () => {
    instance.reason = launches;
    if (launches !== null) state.volumes.delete(instance.id);
  });
  return reply('RunInstances', { reservationId: 'r-1', instancesSet: { item: [instanceItem(instance)] } });
}

/** What a token answers that has made an instance before. */
function ofEarlier(earlier: FakeAwsInstance, compared: string): FakeReply {
  if (earlier.parameters !== compared) {
    return refusal(
      400,
      'IdempotentParameterMismatch',
      'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
    );
  }
  if (earlier.state === 'terminated') {
    return refusal(400, 'IdempotentInstanceTerminated', 'The instance of this client token has been terminated.');
  }
  return reply('RunInstances', { reservationId: 'r-1', instancesSet: { item: [instanceItem(earlier)] } });
}

function reservedTag(): FakeReply {
  return refusal(400, 'InvalidParameterValue', "Tag keys starting with 'aws:' are reserved for internal use");
}

function become(instance: FakeAwsInstance, state: string, milliseconds: number, later: Later, then = () => {}): void {
  later(milliseconds, () => {
    if (instance.state === 'terminated' || (instance.state === 'shutting-down' && state !== 'terminated')) return;
    instance.state = state;
    then();
  });
}

/** All of the named instances, or none. */
function changeInstances(
  state: State,
  action: string,
  parameters: URLSearchParams,
  settle: { stop: number; start: number; remove: number },
  later: Later,
): FakeReply {
  const ids = listOf(parameters, 'InstanceId');
  for (const id of ids) {
    const wrong = whatIsWrongWith(id, [...state.instances.values()]);
    if (wrong !== null) return wrong;
  }
  const instances = ids.flatMap((id) => state.instances.get(id) ?? []);
  for (const instance of instances) {
    const wrong = whatForbidsChange(action, instance);
    if (wrong !== null) return wrong;
  }
  const item = instances.map((instance) => {
    const before = { code: CODES[instance.state], name: instance.state };
    changeState(state, action, instance, settle, later);
    const currentState = { code: CODES[instance.state], name: instance.state };
    return { instanceId: instance.id, currentState, previousState: before };
  });
  return reply(action, action === 'RebootInstances' ? { return: true } : { instancesSet: { item } });
}

/** The states from which a change is allowed; "already so" is one. */
const ALLOWED: Record<string, [states: string[], becomes: string]> = {
  StartInstances: [['running', 'pending', 'stopped'], 'started'],
  StopInstances: [['running', 'stopping', 'stopped'], 'stopped'],
  RebootInstances: [['running'], 'rebooted'],
};

function whatForbidsChange(action: string, { id, state, isProtected }: FakeAwsInstance): FakeReply | null {
  const [states, becomes] = ALLOWED[action] ?? [Object.keys(CODES), 'terminated'];
  if (!states.includes(state)) {
    const words = `The instance '${id}' is not in a state from which it can be ${becomes}.`;
    return refusal(400, 'IncorrectInstanceState', words);
  }
  if (action !== 'TerminateInstances' || !isProtected) return null;
  return refusal(
    400,
    'OperationNotPermitted',
    `The instance '${id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.`,
  );
}

function changeState(
  state: State,
  action: string,
  instance: FakeAwsInstance,
  settle: { stop: number; start: number; remove: number },
  later: Later,
): void {
  if (action === 'StartInstances' && instance.state === 'stopped') {
    Object.assign(instance, { state: 'pending', reason: null });
    become(instance, 'running', settle.start, later);
  } else if (action === 'StopInstances' && instance.state === 'running') {
    Object.assign(instance, { state: 'stopping', reason: BY_USER });
    become(instance, 'stopped', settle.stop, later);
  } else if (action === 'TerminateInstances' && !['terminated', 'shutting-down'].includes(instance.state)) {
    Object.assign(instance, { state: 'shutting-down', reason: BY_USER });
    become(instance, 'terminated', settle.remove, later, () => {
      if (instance.deleteVolume) state.volumes.delete(instance.id);
    });
  }
}

function changeTags(state: State, action: string, parameters: URLSearchParams): FakeReply {
  for (const id of listOf(parameters, 'ResourceId')) {
    const instance = state.instances.get(id);
    if (instance === undefined)
      return refusal(400, 'InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
    for (let at = 1; parameters.has(`Tag.${at}.Key`); at++) {
      const key = parameters.get(`Tag.${at}.Key`) ?? '';
      if (key.startsWith('aws:')) return reservedTag();
      if (action === 'DeleteTags') instance.tags.delete(key);
      else instance.tags.set(key, parameters.get(`Tag.${at}.Value`) ?? '');
    }
  }
  return reply(action, { return: true });
}

function modifyInstance(state: State, parameters: URLSearchParams): FakeReply {
  const id = parameters.get('InstanceId') ?? '';
  const instance = state.instances.get(id);
  const type = TYPES.find(({ name }) => name === parameters.get('InstanceType.Value'));
  const isProtected = parameters.get('DisableApiTermination.Value');
  if (instance === undefined) {
    return refusal(400, 'InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
  }
  if (isProtected !== null) {
    instance.isProtected = isProtected === 'true';
    return reply('ModifyInstanceAttribute', { return: true });
  }
  if (type === undefined) return refusal(400, 'InvalidInstanceAttributeValue', 'Invalid value for InstanceType.');
  if (instance.state !== 'stopped') {
    return refusal(400, 'IncorrectInstanceState', `The instance '${id}' is not in the 'stopped' state.`);
  }
  instance.type = type.name;
  return reply('ModifyInstanceAttribute', { return: true });
}

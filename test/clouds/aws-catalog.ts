/** What the stand-in for EC2 offers: zones, types, images, networks and keys. */
import { randomBytes } from 'node:crypto';
import { filtered, isReply, listOf, paged, refusal, reply } from './aws-wire.ts';
import type { FakeReply } from './fake.ts';

export const ZONES = ['eu-central-1a', 'eu-central-1b', 'eu-central-1c'];

const X86 = 'x86_64';
const ARM = 'arm64';

interface Type {
  name: string;
  cpus: number;
  memory: number;
  zones: string[];
  runs: string;
}

export const TYPES: Type[] = [
  ['t2.micro', 1, 1_024, X86],
  ['t2.small', 1, 2_048, X86],
  ['t3.small', 2, 2_048, X86],
  ['t3.medium', 2, 4_096, X86],
  ['t2.medium', 2, 4_096, X86],
  ['c6i.large', 2, 4_096, X86],
  ['c6i.xlarge', 4, 8_192, X86],
  ['t3.nano', 2, 512, X86],
  ['t4g.medium', 2, 4_096, ARM],
  ['m7g.medium', 1, 4_096, ARM],
  ['p5.48xlarge', 192, 2_097_152, X86],
].map(([name, cpus, memory, runs]) => ({
  ...{ name: String(name), cpus: Number(cpus), memory: Number(memory), runs: String(runs) },
  zones: name === 'c6i.xlarge' ? ZONES.slice(0, 2) : ZONES,
}));

interface Image {
  id: string;
  owner: string;
  name: string;
  created: string;
  runs: string;
  deprecated?: boolean;
}

export const IMAGES: Image[] = [
  {
    ...{ id: 'ami-0000000000000deb1', owner: '136693071363', name: 'debian-12-amd64-20240201-1644' },
    ...{ created: '2024-02-01T00:00:00.000Z', runs: X86, deprecated: true },
  },
  {
    ...{ id: 'ami-0000000000000deb2', owner: '136693071363', name: 'debian-12-amd64-20240901-1857' },
    ...{ created: '2024-09-01T00:00:00.000Z', runs: X86 },
  },
  {
    ...{ id: 'ami-0000000000000deba', owner: '136693071363', name: 'debian-12-arm64-20241001-1900' },
    ...{ created: '2024-10-01T00:00:00.000Z', runs: ARM },
  },
  {
    ...{ id: 'ami-00000000000000bb1', owner: '099720109477', created: '2024-08-01T00:00:00.000Z', runs: X86 },
    name: 'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20240801',
  },
  {
    ...{ id: 'ami-0123456789abcdef0', owner: '123456789012', name: 'golden' },
    ...{ created: '2024-08-01T00:00:00.000Z', runs: X86 },
  },
];

/** The account's default network, with a subnet in each zone. */
export const VPC = 'vpc-0a1b2c3d4e5f60718';
export const SUBNETS = ZONES.map((zone, place) => ({
  ...{ id: `subnet-0a1b2c3d4e5f6071${place}`, zone, addresses: `172.31.${place * 16}.0/20` },
}));
export const GROUP = 'sg-0a1b2c3d4e5f60718';

export function describeZones(action: string): FakeReply {
  const item = ZONES.map((zoneName, place) => ({
    ...{ zoneName, zoneState: 'available', regionName: 'eu-central-1', zoneId: `euc1-az${place}` },
    ...{ zoneType: 'availability-zone', optInStatus: 'opt-in-not-required', groupName: 'eu-central-1' },
  }));
  return reply(action, { availabilityZoneInfo: { item } });
}

export function describeOfferings(action: string, parameters: URLSearchParams): FakeReply {
  const rows = TYPES.flatMap(({ name, zones }) => zones.map((location) => ({ name, location })));
  const found = filtered(parameters, rows, ({ name, location }, filter) =>
    filter === 'instance-type' ? [name] : filter === 'location' ? [location] : null,
  );
  const pages = isReply(found) ? found : paged(parameters, found, { least: 5, most: 1_000 });
  if (isReply(pages)) return pages;
  const item = pages.page.map(({ name, location }) => ({
    ...{ instanceType: name, locationType: 'availability-zone', location },
  }));
  return reply(action, { instanceTypeOfferingSet: { item }, nextToken: pages.nextToken });
}

export function describeTypes(action: string, parameters: URLSearchParams): FakeReply {
  const named = listOf(parameters, 'InstanceType');
  const unknown = named.find((name) => !TYPES.some((type) => type.name === name));
  if (unknown !== undefined) {
    return refusal(400, 'InvalidInstanceType', `The following supplied instance types do not exist: [${unknown}]`);
  }
  const rows = TYPES.filter(({ name }) => named.length === 0 || named.includes(name));
  const found = filtered(parameters, rows, ({ name, runs }, filter) =>
    filter === 'instance-type' ? [name] : filter === 'processor-info.supported-architecture' ? [runs] : null,
  );
  const pages = isReply(found) ? found : paged(parameters, found, { least: 5, most: 100 });
  if (isReply(pages)) return pages;
  const item = pages.page.map(({ name, cpus, memory, runs }) => ({
    ...{ instanceType: name, currentGeneration: true, bareMetal: false, hypervisor: 'nitro' },
    ...{ vCpuInfo: { defaultVCpus: cpus }, memoryInfo: { sizeInMiB: memory } },
    processorInfo: { supportedArchitectures: { item: [runs] } },
  }));
  return reply(action, { instanceTypeSet: { item }, nextToken: pages.nextToken });
}

/** Deprecated ones show to whom asks for them. */
export function describeImages(action: string, parameters: URLSearchParams): FakeReply {
  const owners = listOf(parameters, 'Owner');
  const named = listOf(parameters, 'ImageId');
  const unknown = named.find((id) => !IMAGES.some((image) => image.id === id));
  if (unknown !== undefined) return refusal(400, 'InvalidAMIID.NotFound', `The image id '[${unknown}]' does not exist`);
  const rows = IMAGES.filter(
    ({ id, owner, deprecated }) =>
      (owners.length === 0 || owners.includes(owner)) &&
      (named.length === 0 || named.includes(id)) &&
      (deprecated !== true || parameters.get('IncludeDeprecated') === 'true'),
  );
  const found = filtered(parameters, rows, ({ id, name, runs, owner }, filter) => {
    const facts: Record<string, string> = { 'image-id': id, name, state: 'available', architecture: runs };
    const fact = { ...facts, 'owner-id': owner }[filter];
    return fact === undefined ? null : [fact];
  });
  const pages = isReply(found) ? found : paged(parameters, found, { least: 1, most: 1_000 });
  if (isReply(pages)) return pages;
  const item = pages.page.map(({ id, owner, name, created, runs, deprecated }) => ({
    ...{ imageId: id, imageOwnerId: owner, name, creationDate: created, imageState: 'available', architecture: runs },
    ...{ rootDeviceName: '/dev/xvda', rootDeviceType: 'ebs', isPublic: true, virtualizationType: 'hvm' },
    deprecationTime: deprecated === true ? '2024-09-01T00:00:00.000Z' : null,
  }));
  return reply(action, { imagesSet: { item }, nextToken: pages.nextToken });
}

export function describeNetwork(action: string): FakeReply {
  switch (action) {
    case 'DescribeVpcs':
      return reply(action, {
        vpcSet: { item: [{ vpcId: VPC, state: 'available', cidrBlock: '172.31.0.0/16', isDefault: true }] },
      });
    case 'DescribeSubnets': {
      const item = SUBNETS.map(({ id, zone, addresses }) => ({
        ...{ subnetId: id, vpcId: VPC, state: 'available', availabilityZone: zone, cidrBlock: addresses },
        ...{ defaultForAz: true, availableIpAddressCount: 4_091, mapPublicIpOnLaunch: true },
      }));
      return reply(action, { subnetSet: { item } });
    }
  }
  const group = { groupId: GROUP, groupName: 'default', groupDescription: 'default VPC security group', vpcId: VPC };
  return reply(action, { securityGroupInfo: { item: [{ ...group, ownerId: '123456789012' }] } });
}

/** Key pairs of the account: by name. @returns null for another action. */
export function changeKeys(keys: Map<string, string>, action: string, parameters: URLSearchParams): FakeReply | null {
  const name = parameters.get('KeyName') ?? '';
  switch (action) {
    case 'ImportKeyPair': {
      if (keys.has(name)) {
        return refusal(400, 'InvalidKeyPair.Duplicate', `The keypair '${name}' already exists.`);
      }
      keys.set(name, `key-0${randomBytes(8).toString('hex')}`);
      return reply(action, { keyName: name, keyPairId: keys.get(name), keyFingerprint: '00:11' });
    }
    case 'DescribeKeyPairs': {
      const named = listOf(parameters, 'KeyName');
      const missing = named.find((each) => !keys.has(each));
      if (missing !== undefined) {
        return refusal(400, 'InvalidKeyPair.NotFound', `The key pair '${missing}' does not exist`);
      }
      const wanted = [...keys].filter(([each]) => named.length === 0 || named.includes(each));
      return reply(action, { keySet: { item: wanted.map(([keyName, keyPairId]) => ({ keyName, keyPairId })) } });
    }
    case 'DeleteKeyPair':
      keys.delete(name);
      return reply(action, { return: true });
  }
  return null;
}

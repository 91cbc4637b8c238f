import type { _InstanceType, Image } from '@aws-sdk/client-ec2';
import type { CallOptions, Plan, Zone } from '../contract.ts';
import { remembered } from '../waiting.ts';
import type { Aws } from './client.ts';
import { listed } from './errors.ts';

/** Types and zones change some times a year, images some times a month. */
const FRESH_MS = 600_000;
/** Whoever asks for the catalogue waits for the account's turn no longer than this. Seconds. */
const PATIENCE = 60;
/**
 * The kinds of machines that are offered, of the hundreds there are. Where two types have one size, the neutral plan means
 * the one of the family that comes first.
 */
const FAMILIES = [
  ...['t3', 't2', 'm6i', 'c6i', 'r6i', 't3a', 'm7i', 'c7i', 'r7i', 'm6a', 'c6a', 'r6a', 'm7a', 'c7a', 'r7a'],
  ...['m5', 'c5', 'r5', 't4g', 'm6g', 'c6g', 'r6g', 'm7g', 'c7g', 'r7g', 'm8g', 'c8g', 'r8g'],
];
const TYPES = FAMILIES.map((family) => `${family}.*`);

/** What a processor runs, in EC2's words. */
type Architecture = 'x86_64' | 'arm64';
const ARCHITECTURES: readonly Architecture[] = ['x86_64', 'arm64'];

interface InstanceType {
  name: _InstanceType;
  cpus: number;
  memoryMb: number;
  architecture: Architecture;
  zones: ReadonlySet<string>;
}

export interface Catalog {
  types: InstanceType[];
  plans: Plan[];
  zones: Zone[];
}

/** What the region offers, asked for at most every ten minutes. */
export function catalogReader(aws: Aws): (options?: CallOptions) => Promise<Catalog> {
  return remembered(FRESH_MS, () => readCatalog(aws, { patience: PATIENCE }));
}

async function readCatalog(aws: Aws, options: CallOptions): Promise<Catalog> {
  const [zones, offers, sizes] = await Promise.all([
    readZones(aws, options),
    readOffers(aws, options),
    readSizes(aws, options),
  ]);
  const types = [...sizes].flatMap(([name, size]) => {
    const at = offers.get(name);
    return at === undefined ? [] : [{ name, ...size, zones: at }];
  });
  return { zones, types, plans: plansOf(types) };
}

async function readZones(aws: Aws, options: CallOptions): Promise<Zone[]> {
  const { AvailabilityZones: zones } = await aws.ask(
    'list the zones',
    ({ sdk, client, abortSignal }) => client.send(new sdk.DescribeAvailabilityZonesCommand({}), { abortSignal }),
    options,
  );
  return listed('list of zones', zones).flatMap(({ ZoneName: name, ZoneId: id, ZoneType: type, State: state }) =>
    name !== undefined && state === 'available' && (type ?? 'availability-zone') === 'availability-zone'
      ? { name, description: `${aws.settings.region} (${id ?? name})` }
      : [],
  );
}

/** Which types stand in which zones: of all families, as what is wanted of them follows from the sizes. */
async function readOffers(aws: Aws, options: CallOptions): Promise<Map<string, Set<string>>> {
  const offers = new Map<string, Set<string>>();
  let token: string | undefined;
  do {
    const page = await aws.ask(
      'list what the zones offer',
      ({ sdk, client, abortSignal }) =>
        client.send(
          new sdk.DescribeInstanceTypeOfferingsCommand({
            LocationType: 'availability-zone',
            MaxResults: 1_000,
            NextToken: token,
          }),
          { abortSignal },
        ),
      options,
    );
    for (const { InstanceType: type, Location: zone } of listed('list of offers', page.InstanceTypeOfferings)) {
      if (type === undefined || zone === undefined) continue;
      offers.set(type, (offers.get(type) ?? new Set()).add(zone));
    }
    token = page.NextToken;
  } while (token);
  return offers;
}

async function readSizes(aws: Aws, options: CallOptions) {
  const sizes = new Map<_InstanceType, Pick<InstanceType, 'cpus' | 'memoryMb' | 'architecture'>>();
  let token: string | undefined;
  do {
    const page = await aws.ask(
      'list the instance types',
      ({ sdk, client, abortSignal }) =>
        client.send(
          new sdk.DescribeInstanceTypesCommand({
            Filters: [{ Name: 'instance-type', Values: TYPES }],
            NextToken: token,
          }),
          { abortSignal },
        ),
      options,
    );
    for (const { InstanceType: type, BareMetal: metal, ...about } of listed('list of types', page.InstanceTypes)) {
      const cpus = about.VCpuInfo?.DefaultVCpus;
      const memoryMb = about.MemoryInfo?.SizeInMiB;
      const runs = about.ProcessorInfo?.SupportedArchitectures ?? ['x86_64'];
      const architecture = ARCHITECTURES.find((known) => runs.includes(known));
      if (type !== undefined && cpus && memoryMb && architecture !== undefined && metal !== true) {
        sizes.set(type, { cpus, memoryMb, architecture });
      }
    }
    token = page.NextToken;
  } while (token);
  return sizes;
}

/** Each type under its own name, and each size that x86 comes in under its neutral one. EC2 tells no prices. */
function plansOf(types: readonly InstanceType[]): Plan[] {
  const toPlan = (name: string, { cpus, memoryMb, name: native }: InstanceType): Plan => ({
    name,
    cpus,
    memory_mb: memoryMb,
    storage_gb: null,
    native_name: native,
  });
  const neutral = new Map<string, Plan>();
  for (const type of inPreference(types)) {
    const name = neutralName(type);
    if (name !== null && !neutral.has(name)) neutral.set(name, toPlan(name, type));
  }
  return [...neutral.values(), ...types.map((type) => toPlan(type.name, type))];
}

/** Null where its size has none, or its processor is no usual one: what runs on x86 does not run there. */
function neutralName({ cpus, memoryMb, architecture }: InstanceType): string | null {
  return architecture === 'x86_64' && memoryMb % 1_024 === 0 ? `${cpus}xCPU-${memoryMb / 1_024}GB` : null;
}

function inPreference(types: readonly InstanceType[]): InstanceType[] {
  const rank = ({ name }: InstanceType) => FAMILIES.indexOf(name.split('.')[0] ?? '');
  return types.toSorted((a, b) => rank(a) - rank(b));
}

/** The type that a plan means in a zone. */
export function typeFor(plan: string, zone: string, { types }: Catalog): InstanceType | undefined {
  const meant = types.filter((type) => plan === type.name || plan === neutralName(type));
  return inPreference(meant.filter(({ zones }) => zones.has(zone)))[0];
}

/** Who publishes which system under which name, and what a processor is called in there. */
const PUBLISHERS: Record<string, { owner: string; arm: string; name: (version: string, runs: string) => string }> = {
  debian: { owner: '136693071363', arm: 'arm64', name: (version, runs) => `debian-${version}-${runs}-*` },
  ubuntu: {
    owner: '099720109477',
    arm: 'arm64',
    name: (version, runs) => `ubuntu/images/hvm-ssd*/ubuntu-*-${version}-${runs}-server-*`,
  },
  almalinux: { owner: '764336703387', arm: 'aarch64', name: (version, runs) => `AlmaLinux OS ${version}.*${runs}*` },
  rocky: {
    owner: '792107900819',
    arm: 'aarch64',
    name: (version, runs) => `Rocky-${version}-EC2-Base-${version}.*${runs}*`,
  },
};

/** Neutral names that are understood, for suggestions. */
export const KNOWN_IMAGES = ['debian-12', 'debian-13', 'ubuntu-22.04', 'ubuntu-24.04', 'almalinux-9', 'rocky-9'];

/**
 * The newest image of that neutral name for the processor, or the one of that id, also where its publisher has deprecated it;
 * null where there is none.
 */
export async function findImage(
  aws: Aws,
  wanted: string,
  architecture: Architecture,
  options: CallOptions = {},
): Promise<Image | null> {
  const [system = '', version = ''] = wanted.split(/-(?=\d)/);
  const publisher = PUBLISHERS[system];
  const isId = /^ami-[0-9a-f]+$/.test(wanted);
  if (!isId && (publisher === undefined || version === '')) return null;
  const { Images: images } = await aws.ask(
    'look for the image',
    ({ sdk, client, abortSignal }) =>
      client.send(
        new sdk.DescribeImagesCommand({
          ...(publisher === undefined || isId ? { IncludeDeprecated: true } : { Owners: [publisher.owner] }),
          Filters: [
            isId
              ? { Name: 'image-id', Values: [wanted] }
              : { Name: 'name', Values: [publisher === undefined ? '' : nameOf(publisher, version, architecture)] },
            { Name: 'state', Values: ['available'] },
          ],
        }),
        { abortSignal },
      ),
    options,
  );
  return (
    listed('list of images', images).toSorted((a, b) =>
      (a.CreationDate ?? '') < (b.CreationDate ?? '') ? 1 : -1,
    )[0] ?? null
  );
}

function nameOf({ name, arm }: (typeof PUBLISHERS)[string], version: string, architecture: Architecture): string {
  const usual = arm === 'aarch64' ? 'x86_64' : 'amd64';
  return name(version, architecture === 'arm64' ? arm : usual);
}

import type { CloudHttp } from '../cloud-http.ts';
import type { CallOptions, Plan, PlanPrices, Zone } from '../contract.ts';
import { neutralImageName } from '../images.ts';
import { remembered } from '../waiting.ts';
import { fields, items, numeric, text } from '../wire.ts';
import { readList } from './listing.ts';

/** Server types, locations, images and prices change some times a year. */
const FRESH_MS = 600_000;
/** Whoever asks for the catalogue waits for the account's turn no longer than this. Seconds. */
const PATIENCE = 60;

export interface ServerType {
  name: string;
  cpus: number;
  memoryMb: number;
  diskGb: number;
  architecture: string;
  /** Where it is offered. */
  prices: PlanPrices;
  /** Where of these it is sold out at the moment: servers of it stand there all the same. */
  soldOut: ReadonlySet<string>;
}

export interface Image {
  id: string;
  /** What a create request takes. */
  name: string | null;
  /** `debian-12`; null for snapshots and the like. */
  neutral: string | null;
  architecture: string;
}

export interface Catalog {
  types: ServerType[];
  plans: Plan[];
  zones: Zone[];
  images: Image[];
}

/** What Hetzner offers, asked for at most every ten minutes. */
export function catalogReader(http: CloudHttp): (options?: CallOptions) => Promise<Catalog> {
  return remembered(FRESH_MS, () => readCatalog(http, { patience: PATIENCE }));
}

async function readCatalog(http: CloudHttp, options: CallOptions): Promise<Catalog> {
  const [pricing, types, zones, images] = await Promise.all([
    http.read('read the prices', '/v1/pricing', options),
    readList(http, 'list the server types', '/v1/server_types', 'server_types', options),
    readList(http, 'list the locations', '/v1/locations', 'locations', options),
    readList(http, 'list the images', '/v1/images?status=available', 'images', options),
  ]);
  const currency = text(fields(fields(pricing).pricing).currency) ?? null;
  const usable = types.items.flatMap((type) => readType(type, currency));
  return {
    types: usable,
    plans: plansOf(usable),
    zones: zones.items.flatMap((zone) => {
      const name = text(zone.name);
      return name === undefined ? [] : { name, description: text(zone.description) ?? name };
    }),
    images: images.items.flatMap(readImage),
  };
}

/** Types that are going away are not offered; since September 2025 that is told for each location. */
function readType(type: Record<string, unknown>, currency: string | null): ServerType[] {
  const name = text(type.name);
  const cpus = numeric(type.cores);
  const memory = numeric(type.memory);
  if (name === undefined || cpus === undefined || memory === undefined) return [];
  const places = locationsOf(type);
  if (places === null && (type.deprecated === true || isDeprecated(type))) return [];
  const prices: PlanPrices = {};
  const soldOut = new Set<string>();
  for (const { location, price_hourly: hourly, price_monthly: monthly } of items(type.prices) ?? []) {
    const zone = text(location);
    const perHour = numeric(fields(hourly).net);
    const perMonth = numeric(fields(monthly).net);
    const place = zone === undefined ? undefined : (places?.get(zone) ?? (places === null ? 'offered' : undefined));
    if (zone === undefined || place === undefined) continue;
    if (place === 'sold out') soldOut.add(zone);
    if (perHour !== undefined && perMonth !== undefined) {
      prices[zone] = { currency, hourly: perHour, monthly: perMonth };
    }
  }
  return [
    {
      name,
      cpus,
      memoryMb: Math.round(memory * 1_024),
      diskGb: numeric(type.disk) ?? 0,
      architecture: text(type.architecture) ?? 'x86',
      prices,
      soldOut,
    },
  ];
}

const isDeprecated = ({ deprecation }: Record<string, unknown>) => (deprecation ?? null) !== null;

/** How it stands with a type in each location where it is not going away; null where the answer does not tell. */
function locationsOf(type: Record<string, unknown>): Map<string, 'offered' | 'sold out'> | null {
  const places = items(type.locations);
  if (places === null) return null;
  return new Map(
    places
      .filter((place) => !isDeprecated(place))
      .map((place) => [text(place.name) ?? '', place.available === false ? 'sold out' : 'offered']),
  );
}

/** Each type under its own name, and each size under its neutral one. */
function plansOf(types: readonly ServerType[]): Plan[] {
  const offered = types.filter(({ prices }) => Object.keys(prices).length > 0);
  const natives = offered.map((type) => toPlan(type.name, type, type.prices));
  const bySize = Map.groupBy(
    offered.filter(({ architecture, memoryMb }) => architecture === 'x86' && memoryMb % 1_024 === 0),
    sizeOf,
  );
  const neutral = [...bySize].flatMap(([name, same]) => {
    const prices: PlanPrices = {};
    for (const zone of new Set(same.flatMap((type) => Object.keys(type.prices)))) {
      const price = cheapest(same, zone)?.prices[zone];
      if (price !== undefined) prices[zone] = price;
    }
    const first = same.toSorted((a, b) => least(a) - least(b))[0];
    return first === undefined ? [] : [toPlan(name, first, prices)];
  });
  return [...neutral, ...natives];
}

/** Its neutral name. */
const sizeOf = ({ cpus, memoryMb }: ServerType) => `${cpus}xCPU-${memoryMb / 1_024}GB`;

function toPlan(name: string, type: ServerType, prices: PlanPrices): Plan {
  const { cpus, memoryMb, diskGb } = type;
  return { name, cpus, memory_mb: memoryMb, storage_gb: diskGb || null, native_name: type.name, prices };
}

function least({ prices }: ServerType): number {
  return Math.min(...Object.values(prices).map(({ hourly }) => hourly));
}

/** What can be had goes before what is sold out. */
function cheapest(types: readonly ServerType[], zone: string): ServerType | undefined {
  const price = (type: ServerType) => type.prices[zone]?.hourly ?? Number.POSITIVE_INFINITY;
  const rank = (type: ServerType) => (type.soldOut.has(zone) ? 1 : 0);
  return types.filter((type) => zone in type.prices).toSorted((a, b) => rank(a) - rank(b) || price(a) - price(b))[0];
}

/** The server type that a plan means in a zone, where it can be had: the one of that name, or the cheapest of that size. */
export function typeFor(plan: string, zone: string, catalog: Catalog): ServerType | undefined {
  const type = offeredType(plan, zone, catalog);
  return type?.soldOut.has(zone) ? undefined : type;
}

/** Whether a plan lacks in a zone only because all that it may become is sold out there. */
export function isSoldOut(plan: string, zone: string, catalog: Catalog): boolean {
  return offeredType(plan, zone, catalog)?.soldOut.has(zone) === true;
}

function offeredType(plan: string, zone: string, { types }: Catalog): ServerType | undefined {
  const named = types.find(({ name }) => name === plan);
  if (named !== undefined) return zone in named.prices ? named : undefined;
  const same = types.filter((type) => type.architecture === 'x86' && plan === sizeOf(type));
  return cheapest(same, zone);
}

const OWN_NAMES: Record<string, string> = { alma: 'almalinux', 'centos-stream': 'centos' };

function readImage(image: Record<string, unknown>): Image[] {
  const id = text(image.id);
  const name = text(image.name) ?? null;
  if (id === undefined) return [];
  const system = text(image.type) === 'system' && name !== null ? name : null;
  const renamed = system?.replace(/^(alma|centos-stream)(?=-)/, (own) => OWN_NAMES[own] ?? own);
  return [
    {
      id,
      name,
      neutral: renamed === undefined ? null : neutralImageName(renamed.replace('-', ' ')),
      architecture: text(image.architecture) ?? 'x86',
    },
  ];
}

/** The image of that name or id for the architecture of a type. */
export function imageFor(wanted: string, architecture: string, { images }: Catalog): Image | undefined {
  return images.find(
    (image) => image.architecture === architecture && [image.neutral, image.name, image.id].includes(wanted),
  );
}

import type { CloudHttp } from '../cloud-http.ts';
import { type CallOptions, type Plan, type PlanPrices, ProviderError, type Zone } from '../contract.ts';
import { neutralImageName } from '../images.ts';
import { remembered } from '../waiting.ts';
import { fields, items, numeric, text } from '../wire.ts';

/** Plans, zones, templates and prices change some times a year. */
const FRESH_MS = 600_000;
/** Whoever asks for the catalogue waits for the account's turn no longer than this. Seconds. */
const PATIENCE = 60;
/** UpCloud bills at most 28 days of a month. */
const HOURS_OF_A_MONTH = 672;

/** A plan with what a create request needs of it. */
export interface UpcloudPlan extends Plan {
  tier: string | null;
}

/** A storage that a server can be cloned from. */
export interface Template {
  uuid: string;
  title: string;
  /** `debian-12`; null for what has none (private templates, Windows). */
  neutral: string | null;
  /** Gibibytes. */
  size: number;
  /** The zone a private template lies in; null: everywhere. */
  zone: string | null;
  /** It has no cloud-init: UpCloud itself runs user data, where it is a script. */
  native: boolean;
}

export interface Catalog {
  plans: UpcloudPlan[];
  zones: Zone[];
  templates: Template[];
}

/** What UpCloud offers to this account, asked for at most every ten minutes. */
export function catalogReader(http: CloudHttp): (options?: CallOptions) => Promise<Catalog> {
  return remembered(FRESH_MS, () => readCatalog(http, { patience: PATIENCE }));
}

async function readCatalog(http: CloudHttp, options: CallOptions): Promise<Catalog> {
  const [plans, zones, templates, prices] = await Promise.all([
    http.read('list the plans', '/1.3/plan', options),
    http.read('list the zones', '/1.3/zone', options),
    http.read('list the templates', '/1.3/storage/template', options),
    http.read('list the prices', '/1.3/price', options).catch(noPrices),
  ]);
  const offered = readZones(zones);
  return {
    zones: offered,
    templates: readTemplates(templates),
    plans: readPlans(plans, readPrices(prices, new Set(offered.map((zone) => zone.name)))),
  };
}

/** Prices are told to main accounts; a subaccount without access to billing sees plans without them. */
function noPrices(error: unknown): unknown {
  if (error instanceof ProviderError && ['FORBIDDEN', 'NOT_FOUND', 'INVALID_REQUEST'].includes(error.code)) return null;
  throw error;
}

export function readPlans(body: unknown, prices: ReadonlyMap<string, PlanPrices>): UpcloudPlan[] {
  return listed('plans', fields(fields(body).plans).plan).flatMap((plan) => {
    const name = text(plan.name);
    const cpus = numeric(plan.core_number);
    const memory = numeric(plan.memory_amount);
    // What a GPU needs besides (a zone that has one, an image with drivers) cannot be asked for.
    const gpus = numeric(plan.gpu_amount) ?? 0;
    if (name === undefined || cpus === undefined || memory === undefined || gpus > 0) return [];
    return {
      name,
      cpus,
      memory_mb: memory,
      // Plans without a disk of their own say 0.
      storage_gb: numeric(plan.storage_size) || null,
      native_name: name,
      tier: text(plan.storage_tier) ?? null,
      prices: prices.get(name),
    };
  });
}

/** Zones that are not public are other people's. */
export function readZones(body: unknown): Zone[] {
  return listed('zones', fields(fields(body).zones).zone).flatMap((zone) => {
    const name = text(zone.id);
    return name === undefined || text(zone.public) === 'no'
      ? []
      : { name, description: text(zone.description) ?? name };
  });
}

export function readTemplates(body: unknown): Template[] {
  return listed('templates', fields(fields(body).storages).storage).flatMap((storage) => {
    const uuid = text(storage.uuid);
    const title = text(storage.title) ?? '';
    if (uuid === undefined) return [];
    const isPublic = text(storage.access) === 'public';
    return {
      uuid,
      title,
      neutral: isPublic ? neutralImageName(title) : null,
      size: numeric(storage.size) ?? 0,
      zone: text(storage.zone) ?? null,
      native: text(storage.template_type) === 'native',
    };
  });
}

/** By plan, then by zone. Amounts come in hundredths of the account's currency for an hour. */
function readPrices(body: unknown, zones: ReadonlySet<string>): Map<string, PlanPrices> {
  const prices = new Map<string, PlanPrices>();
  for (const zone of items(fields(fields(body).prices).zone) ?? []) {
    const name = text(zone.name);
    if (name === undefined || !zones.has(name)) continue;
    for (const [key, value] of Object.entries(zone)) {
      const plan = /^server_plan_(.+)$/.exec(key)?.[1];
      const amount = numeric(fields(value).amount) || 1;
      const price = numeric(fields(value).price);
      if (plan === undefined || price === undefined) continue;
      const hourly = price / amount / 100;
      const known = prices.get(plan) ?? {};
      known[name] = { currency: null, hourly: rounded(hourly, 6), monthly: rounded(hourly * HOURS_OF_A_MONTH, 2) };
      prices.set(plan, known);
    }
  }
  return prices;
}

function rounded(amount: number, digits: number): number {
  return Number(amount.toFixed(digits));
}

function listed(what: string, value: unknown): Record<string, unknown>[] {
  const list = items(value);
  if (list !== null) return list;
  throw new ProviderError('UNAVAILABLE', `UpCloud answered no list of ${what}. Trying again may help.`, {
    retryable: true,
  });
}

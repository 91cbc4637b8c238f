/**
 * What the servers of a workspace may be together: how many, how large, how dear. Judged where a server is accepted, in
 * the transaction that accepts it, so that all replicas together keep to it. How large a plan is, and what it costs, is
 * asked of its provider before (`learnSizes`) and kept.
 */
import { sql } from 'kysely';
import type { Database, Queryable } from '../database/pool.ts';
import { errors } from '../errors.ts';
import { type Plan, type Provider, ProviderError } from '../providers/contract.ts';
import type { ProviderRegistry } from '../providers/registry.ts';

export const WORKSPACE_LIMITS = ['servers', 'cpus', 'memory', 'monthly_cost'] as const;
export type WorkspaceLimit = (typeof WORKSPACE_LIMITS)[number];
/** Null: no limit. `memory` in gibibytes, `monthly_cost` in what the providers bill in. */
export type WorkspaceLimits = Record<WorkspaceLimit, number | null>;
type Size = Record<Exclude<WorkspaceLimit, 'servers'>, number | null>;

/** Where a server is or shall be. */
export interface Placed {
  provider: string;
  plan: string;
  zone: string;
}

/** As `src/servers/existing.ts` names it: machines of their owners, of which no provider tells a size. */
const EXISTING = 'existing';
/** How old a known size may be. Prices change some times a year. */
const FRESH_HOURS = 24;
/** Providers are asked while a client waits. */
const PATIENCE_SECONDS = 5;
const ANSWER_MS = 10_000;
const UNITS: Record<WorkspaceLimit, string> = {
  servers: 'servers',
  cpus: 'processors',
  memory: 'GiB of memory',
  monthly_cost: 'of monthly cost',
};

/** So long is remembered that a workspace has no limits: nearly none has, and each node of a workflow asks. */
const UNLIMITED_MS = 1_000;
const MAX_UNLIMITED = 10_000;
/** So long nobody asks a provider again that did not tell what was asked: each request would wait for it. */
const SILENT_MS = 20_000;
const MAX_SILENT = 10_000;
/** By workspace and provider: since when. */
const silent = new WeakMap<Database, Map<string, number>>();
/** By workspace: since when. */
const unlimited = new WeakMap<Database, Map<string, number>>();
/** What each transaction has locked. */
const locked = new WeakMap<Queryable, Map<string, WorkspaceLimits | null>>();

/**
 * Locks what `requireWorkspaceRoom` locks. Call it before servers are locked where both may come: otherwise two
 * requests wait for each other.
 */
export async function lockWorkspaceRoom(tx: Queryable, workspace: string): Promise<void> {
  await lockLimits(tx, workspace);
}

/** Their row is locked, where there are any. */
async function lockLimits(tx: Queryable, workspace: string): Promise<WorkspaceLimits | null> {
  const held = locked.get(tx) ?? new Map<string, WorkspaceLimits | null>();
  locked.set(tx, held);
  const known = held.get(workspace);
  if (known !== undefined) return known;
  const limits = await limitsOf(tx, workspace, true);
  held.set(workspace, limits);
  return limits;
}

/** @returns null where the workspace has none, or is none. */
async function limitsOf(db: Queryable, workspace: string, lock: boolean): Promise<WorkspaceLimits | null> {
  const { rows } = await sql<{ limits: Partial<WorkspaceLimits> }>`
    select limits from provisioning.workspaces where name = ${workspace} and limits <> '{}'
    ${lock ? sql`for no key update` : sql``}`.execute(db);
  const limits = rows[0]?.limits;
  if (limits === undefined) return null;
  return { servers: null, cpus: null, memory: null, monthly_cost: null, ...limits };
}

const needsSizes = ({ cpus, memory, monthly_cost }: WorkspaceLimits) =>
  cpus !== null || memory !== null || monthly_cost !== null;

/**
 * Learns how large the servers of a workspace are and what they cost, and those that shall come, where its limits ask
 * for that. Call it before the transaction. A provider that does not answer leaves what was known. What is known of
 * another provider than those of the coming ones is not looked at again here: nobody waits for it.
 * @param always also where it has no such limits yet, and of all providers.
 */
export async function learnSizes(
  db: Database,
  providers: ProviderRegistry,
  workspace: string,
  coming: readonly Placed[],
  always = false,
): Promise<void> {
  if (!always && !(await asksForSizes(db, workspace))) return;
  unlimited.get(db)?.delete(workspace);
  const since = silent.get(db) ?? new Map<string, number>();
  silent.set(db, since);
  const unknown = await unknownSizes(db, workspace, coming, always);
  const learnOf = async (name: string, places: readonly Placed[]) => {
    const key = `${workspace} ${name}`;
    const asked = performance.now();
    if (!always && asked - (since.get(key) ?? Number.NEGATIVE_INFINITY) < SILENT_MS) return;
    const plans = await plansOf(providers, name, workspace);
    const free = providers.cloud(name) === undefined;
    const sizes = places.flatMap(({ plan, zone }) => {
      const found = plans.find((offered) => offered.name === plan);
      if (found === undefined) return [];
      const cost = found.prices?.[zone]?.monthly ?? (free ? 0 : null);
      return [{ plan, zone, cpus: found.cpus, memory: found.memory_mb, cost }];
    });
    await keepSizes(db, workspace, name, sizes);
    if (since.size >= MAX_SILENT) since.clear();
    if (sizes.length < places.length) since.set(key, asked);
    else since.delete(key);
  };
  const byProvider = Map.groupBy(unknown, ({ provider }) => provider);
  await Promise.all([...byProvider].map(([name, places]) => learnOf(name, places)));
}

async function asksForSizes(db: Database, workspace: string): Promise<boolean> {
  const known = unlimited.get(db) ?? new Map<string, number>();
  unlimited.set(db, known);
  if (performance.now() - (known.get(workspace) ?? Number.NEGATIVE_INFINITY) < UNLIMITED_MS) return false;
  const limits = await limitsOf(db, workspace, false);
  if (known.size >= MAX_UNLIMITED) known.clear();
  if (limits === null) known.set(workspace, performance.now());
  else known.delete(workspace);
  return limits !== null && needsSizes(limits);
}

/** @param always those that were told long ago of all providers, not only of those of the coming ones. */
async function unknownSizes(
  db: Queryable,
  workspace: string,
  coming: readonly Placed[],
  always: boolean,
): Promise<Placed[]> {
  const asked = coming.map(({ provider }) => provider);
  const { rows } = await sql<Placed>`
    select distinct p.provider, p.plan, p.zone
    from (select provider, plan, zone from provisioning.servers where workspace = ${workspace}
          union all
          select * from unnest(${asked}::text[], ${coming.map(({ plan }) => plan)}::text[],
                               ${coming.map(({ zone }) => zone)}::text[])) as p (provider, plan, zone)
    where p.provider <> ${EXISTING} and not exists (
      select from provisioning.plan_sizes k
      where k.workspace = ${workspace} and (k.provider, k.plan, k.zone) = (p.provider, p.plan, p.zone)
        and (k.seen_at > now() - make_interval(hours => ${FRESH_HOURS}::int)
             or not (${always} or p.provider = any(${asked}::text[]))))`.execute(db);
  return rows;
}

/** Empty where nobody can tell now. */
async function plansOf(providers: ProviderRegistry, name: string, workspace: string): Promise<Plan[]> {
  const signal = AbortSignal.timeout(ANSWER_MS);
  try {
    if (!providers.has(name) && providers.cloud(name) === undefined) return [];
    const provider: Provider = await providers.for(name, workspace);
    return await provider.listPlans({ signal, patience: PATIENCE_SECONDS });
  } catch (error) {
    if (error instanceof ProviderError || (signal.aborted && error === signal.reason)) return [];
    throw error;
  }
}

async function keepSizes(
  db: Queryable,
  workspace: string,
  provider: string,
  sizes: readonly { plan: string; zone: string; cpus: number; memory: number; cost: number | null }[],
): Promise<void> {
  if (sizes.length === 0) return;
  await sql`
    insert into provisioning.plan_sizes (workspace, provider, plan, zone, cpus, memory_mb, monthly_cost)
    select w.name, ${provider}, s.plan, s.zone, s.cpus, s.memory, s.cost
    from provisioning.workspaces w,
         unnest(${sizes.map(({ plan }) => plan)}::text[], ${sizes.map(({ zone }) => zone)}::text[],
                ${sizes.map(({ cpus }) => cpus)}::float8[], ${sizes.map(({ memory }) => memory)}::float8[],
                ${sizes.map(({ cost }) => cost)}::float8[]) as s (plan, zone, cpus, memory, cost)
    where w.name = ${workspace}
    on conflict (workspace, provider, plan, zone) do update
    set cpus = excluded.cpus, memory_mb = excluded.memory_mb, seen_at = now(),
        -- An account that is told no prices does not make cheaper what stands.
        monthly_cost = coalesce(excluded.monthly_cost, plan_sizes.monthly_cost)`.execute(db);
}

/** What the servers of a workspace are together, those in the making and changes under way included. */
export interface WorkspaceUsage extends Record<WorkspaceLimit, number> {
  /** Servers of unknown size, without existing machines, which count as servers only. */
  unknown: number;
  /** Servers whose provider tells no price: they count as free. */
  unpriced: number;
}

const NOTHING: WorkspaceUsage = { servers: 0, cpus: 0, memory: 0, monthly_cost: 0, unknown: 0, unpriced: 0 };

/** @param but without this server. */
export async function usageOf(db: Queryable, workspace: string, but: string | null = null): Promise<WorkspaceUsage> {
  const { rows } = await sql<WorkspaceUsage>`
    with standing as (
      select s.provider, s.zone, s.plan, s.provider <> ${EXISTING} as sized, o.input ->> 'plan' as coming
      from provisioning.servers s
      left join provisioning.operations o
        on o.resource = 'server:' || s.id and o.workspace = s.workspace and o.kind = 'server.resize'
          and o.status in ('pending', 'running')
      where s.workspace = ${workspace} and s.id is distinct from ${but}::text)
    select count(*)::int as servers, coalesce(sum(greatest(now.cpus, next.cpus)), 0)::float8 as cpus,
           coalesce(sum(greatest(now.memory_mb, next.memory_mb)), 0)::float8 / 1024 as memory,
           coalesce(sum(greatest(now.monthly_cost, next.monthly_cost)), 0)::float8 as monthly_cost,
           count(*) filter (
             where s.sized and (now.plan is null or (s.coming is not null and next.plan is null)))::int as unknown,
           count(*) filter (where now.plan is not null and now.monthly_cost is null)::int as unpriced
    from standing s
    left join provisioning.plan_sizes now
      on (now.workspace, now.provider, now.plan, now.zone) = (${workspace}, s.provider, s.plan, s.zone)
    left join provisioning.plan_sizes next
      on (next.workspace, next.provider, next.plan, next.zone) = (${workspace}, s.provider, s.coming, s.zone)`.execute(
    db,
  );
  return rows[0] ?? NOTHING;
}

/** Where nothing else is limited. */
async function countServers(db: Queryable, workspace: string, but: string | null): Promise<WorkspaceUsage> {
  const { rows } = await sql<{ servers: number }>`
    select count(*)::int as servers from provisioning.servers
    where workspace = ${workspace} and id is distinct from ${but}::text`.execute(db);
  return { ...NOTHING, servers: rows[0]?.servers ?? 0 };
}

/** A server that is to come, or to change. */
export interface Coming {
  /** Null: a machine of its owner, which counts as a server alone. */
  place: Placed | null;
  /** The server that is there already, and from which plan it changes (null: it is made anew). Absent: a new one. */
  instead?: { id: string; plan: string | null };
}

/**
 * Holds a server that comes, or becomes larger, against the limits of its workspace. Nobody else passes until the
 * transaction ends.
 * @throws 409 naming the limit; 503 where a size is needed, of this server or of others, that its provider has not
 * told.
 */
export async function requireWorkspaceRoom(
  tx: Queryable,
  workspace: string,
  { place, instead }: Coming,
): Promise<void> {
  const limits = await lockLimits(tx, workspace);
  if (limits === null) return;
  const count = needsSizes(limits) ? usageOf : countServers;
  const used = await count(tx, workspace, instead?.id ?? null);
  const size = place === null || !needsSizes(limits) ? NO_SIZE : await sizeOf(tx, workspace, place);
  const from = instead?.plan ?? null;
  const before = place === null || from === null ? null : await findSize(tx, workspace, { ...place, plan: from });
  const wanted: WorkspaceLimits = { servers: 1, ...size };
  for (const name of WORKSPACE_LIMITS) {
    const allowed = limits[name];
    const more = wanted[name];
    // A workspace that is past its limits may still become smaller.
    if (allowed === null || (from !== null && !grows(name, more, before))) continue;
    // An existing machine takes nothing of what is not known.
    if (name !== 'servers' && place !== null && used.unknown > 0) throw sizesUnknown(workspace, used.unknown);
    if (more !== null && rounded(used[name] + more) <= allowed) continue;
    throw refusal(workspace, name, { used: used[name], wanted: more, allowed }, place);
  }
}

/** Whether a server that changes its plan may come to take more. An unknown plan may be of any size. */
function grows(name: WorkspaceLimit, more: number | null, before: Size | null): boolean {
  if (name === 'servers') return false;
  const held = before?.[name] ?? null;
  return more === null || held === null || more > held;
}

function sizesUnknown(workspace: string, count: number) {
  return errors.unavailable(
    `Workspace "${workspace}" has limits, and the providers have not told how large ${count} of its servers are. Try again in a moment; where their plans are offered no more, resize or delete them, or have the limits of sizes and cost taken off.`,
    10,
  );
}

const NO_SIZE: Size = { cpus: 0, memory: 0, monthly_cost: 0 };

async function findSize(tx: Queryable, workspace: string, { provider, plan, zone }: Placed): Promise<Size | null> {
  const { rows } = await sql<Size>`
    select cpus, memory_mb / 1024 as memory, monthly_cost from provisioning.plan_sizes
    where (workspace, provider, plan, zone) = (${workspace}, ${provider}, ${plan}, ${zone})`.execute(tx);
  return rows[0] ?? null;
}

async function sizeOf(tx: Queryable, workspace: string, place: Placed): Promise<Size> {
  const size = await findSize(tx, workspace, place);
  if (size !== null) return size;
  const { provider, plan, zone } = place;
  throw errors.unavailable(
    `Workspace "${workspace}" has limits, and ${provider} has not told yet how large the plan ${plan} in ${zone} is. Try again in a moment.`,
    10,
  );
}

function refusal(
  workspace: string,
  limit: WorkspaceLimit,
  { used, wanted, allowed }: { used: number; wanted: number | null; allowed: number },
  place: Placed | null,
) {
  const details = { limit, per: 'workspace', workspace, used: rounded(used), allowed };
  if (wanted === null) {
    return errors.limitReached(
      `Workspace "${workspace}" has a limit of monthly cost, and ${place?.provider} tells no price of the plan ${place?.plan}. Choose a provider that does, or have the limit taken off.`,
      { ...details, wanted },
    );
  }
  return errors.limitReached(
    `Workspace "${workspace}" uses ${rounded(used)} of ${allowed} ${UNITS[limit]}, and this takes ${rounded(wanted)} more (limit ${limit}). Delete servers, or have the limit raised: PATCH /v1/workspaces/${workspace}.`,
    { ...details, wanted: rounded(wanted) },
  );
}

/** Without the digits that only binary fractions have. */
function rounded(amount: number): number {
  return Math.round(amount * 1e6) / 1e6;
}

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { uuidv7 } from '../database/uuid.ts';
import { ApplicationError } from '../errors.ts';
import { type Plan, ProviderError } from '../providers/contract.ts';
import type { ProviderRegistry } from '../providers/registry.ts';
import { learnSizes, type Placed, requireWorkspaceRoom, usageOf, type WorkspaceLimits } from './workspace-room.ts';

const database = await createTestDatabase();
const { db, pool } = database;
after(() => database.close());

const planOf = (cpus: number, monthly: number | null): Plan => ({
  ...{ name: `plan-${cpus}`, native_name: `plan-${cpus}`, cpus, memory_mb: cpus * 1_024, storage_gb: null },
  ...(monthly === null ? {} : { prices: { z: { currency: null, hourly: 0, monthly } } as Plan['prices'] }),
});
/** What each cloud answers; null: it does not. */
type Answers = Record<string, Plan[] | null>;
function registry(answers: Answers, asked: string[] = []): ProviderRegistry {
  const of = (name: string) => ({
    async listPlans(): Promise<Plan[]> {
      asked.push(name);
      const plans = answers[name] ?? null;
      if (plans === null) throw new ProviderError('AUTHENTICATION_FAILED', 'nobody is let in', { retryable: false });
      return plans;
    },
  });
  return { has: () => true, cloud: () => ({}), for: async (name: string) => of(name) } as unknown as ProviderRegistry;
}

async function makeWorkspace(name: string, limits: Partial<WorkspaceLimits>): Promise<void> {
  await pool.query('insert into provisioning.workspaces (name, path, limits) values ($1, $2, $3)', [
    ...[name, `/tmp/${name}`],
    JSON.stringify(limits),
  ]);
}
async function makeServer(workspace: string, provider: string, plan: string): Promise<string> {
  const id = `srv-${workspace}-${provider}`;
  await pool.query(
    `insert into provisioning.servers (id, workspace, hostname, provider, plan, zone, status, operation_id, created_by)
     values ($1, $2, $1, $3, $4, 'z', 'running', $5, 'ann')`,
    [id, workspace, provider, plan, uuidv7()],
  );
  return id;
}
const at = (provider: string, cpus: number): Placed => ({ provider, plan: `plan-${cpus}`, zone: 'z' });
const create = (workspace: string, place: Placed | null) =>
  db.transaction().execute((tx) => requireWorkspaceRoom(tx, workspace, { place }));
const resize = (workspace: string, id: string, from: number, place: Placed) =>
  db
    .transaction()
    .execute((tx) => requireWorkspaceRoom(tx, workspace, { place, instead: { id, plan: `plan-${from}` } }));
const refusedWith = (status: number, message: RegExp) => (error: unknown) =>
  error instanceof ApplicationError && error.status === status && message.test(error.message);

test('a limit of cost holds for plans without a price: a server may not become one, whatever it is now', async () => {
  await makeWorkspace('priceless', { monthly_cost: 10 });
  const id = await makeServer('priceless', 'free', 'plan-1');
  const priced = await makeServer('priceless', 'dear', 'plan-2');
  const providers = registry({
    free: [1, 2, 4].map((cpus) => planOf(cpus, null)),
    dear: [planOf(2, 6), planOf(4, null)],
  });
  await learnSizes(db, providers, 'priceless', [at('free', 2), at('dear', 4)]);
  const noPrice = refusedWith(409, /tells no price/);
  await assert.rejects(create('priceless', at('free', 4)), refusedWith(503, /has not told yet/));
  await learnSizes(db, providers, 'priceless', [at('free', 4)]);
  await assert.rejects(create('priceless', at('free', 4)), noPrice);
  await assert.rejects(resize('priceless', id, 1, at('free', 4)), noPrice);
  await assert.rejects(resize('priceless', priced, 2, at('dear', 4)), noPrice);
  const { monthly_cost, unpriced } = await usageOf(db, 'priceless');
  assert.deepEqual({ monthly_cost, unpriced }, { monthly_cost: 6, unpriced: 1 });
});

test('an account that is told no prices makes nothing cheaper that stands', async () => {
  await makeWorkspace('cheap', { monthly_cost: 10 });
  await makeServer('cheap', 'dear', 'plan-2');
  await learnSizes(db, registry({ dear: [planOf(2, 8)] }), 'cheap', []);
  await pool.query("update provisioning.plan_sizes set seen_at = now() - interval '2 days' where workspace = 'cheap'");
  await learnSizes(db, registry({ dear: [planOf(2, null)] }), 'cheap', [at('dear', 2)]);
  assert.equal((await usageOf(db, 'cheap')).monthly_cost, 8);
  await assert.rejects(create('cheap', at('dear', 2)), refusedWith(409, /uses 8 of 10 of monthly cost/));
});

test('where the size of what stands is not known, nothing grows; existing machines have none', async () => {
  await makeWorkspace('dark', { cpus: 4 });
  await makeServer('dark', 'existing', 'existing');
  const id = await makeServer('dark', 'silent', 'plan-2');
  const plans = [1, 2, 4].map((cpus) => planOf(cpus, 1));
  await learnSizes(db, registry({ silent: null, other: plans }), 'dark', [at('other', 1)]);
  assert.equal((await usageOf(db, 'dark')).unknown, 1);
  await assert.rejects(create('dark', at('other', 1)), refusedWith(503, /how large 1 of its servers are/));
  await create('dark', null);
  await learnSizes(db, registry({ silent: plans, other: plans }), 'dark', [at('silent', 1), at('other', 4)], true);
  await create('dark', at('other', 1));
  await assert.rejects(create('dark', at('other', 4)), refusedWith(409, /uses 2 of 4 processors/));
  // Smaller is always possible.
  await resize('dark', id, 2, at('silent', 1));
});

test('a provider that is away is not asked again by each request, and not for what is known', async () => {
  await makeWorkspace('away', { cpus: 100 });
  await makeServer('away', 'down', 'plan-2');
  const asked: string[] = [];
  const plans = [planOf(1, 1), planOf(2, 1)];
  await learnSizes(db, registry({ down: plans, up: plans }, asked), 'away', [at('up', 1)]);
  assert.deepEqual(asked.sort(), ['down', 'up']);
  await pool.query("update provisioning.plan_sizes set seen_at = now() - interval '2 days' where workspace = 'away'");
  asked.length = 0;
  await learnSizes(db, registry({ down: null, up: plans }, asked), 'away', [at('up', 1)]);
  assert.deepEqual(asked, ['up']);
  await pool.query("delete from provisioning.plan_sizes where workspace = 'away' and provider = 'down'");
  for (let n = 0; n < 3; n += 1) {
    await learnSizes(db, registry({ down: null, up: plans }, asked), 'away', [at('up', 1)]);
  }
  assert.deepEqual(asked, ['up', 'down']);
});

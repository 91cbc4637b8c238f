/**
 * Limits are exact: of replicas that take work from one backlog at the same time none carries out more than its own limit,
 * and all together no more than the provider's, while operations end and replicas are killed with -9. Counted at the cloud:
 * its servers come up only when the test says so, and until then their operations cannot end.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startFakeHetzner } from '../clouds/hetzner.ts';
import { createTestDatabase } from '../support/database.ts';
import { startTestServer, type TestServer, until } from '../support/server.ts';
import {
  allEnded,
  assertAllCompleted,
  type Books,
  createServers,
  openBooks,
  scale,
  temporaryDataDir,
  untilAllEnded,
} from './support.ts';

/** Operations at once in one replica (WORKER_CONCURRENCY). */
const WORKER_LIMIT = 25;
/** Operations at once at Hetzner in all replicas (HETZNER_CONCURRENCY in src/providers/hetzner/provider.ts). */
const PROVIDER_LIMIT = 50;
/** In each some operations end. In every second one a replica is killed besides. */
const ROUNDS = scale(4, 20);
const TIMEOUT_MS = 60_000;
/** Longer than any test. Milliseconds. */
const NEVER = 1_000_000_000;

for (const replicas of [2, 3]) {
  test(`${replicas} replicas that may each carry out ${WORKER_LIMIT} operations carry out as many, and never more`, async () => {
    const all = replicas * WORKER_LIMIT;
    await using backlog = await makeBacklog(simulatedCloud, all);
    await backlog.drain(replicas, async (alive) => {
      const atWork = await backlog.atWork();
      for (const [replica, operations] of atWork)
        assert.ok(operations.length <= WORKER_LIMIT, `${operations.length} operations at once in ${replica}`);
      return alive.every((replica) => atWork.get(replica)?.length === WORKER_LIMIT) && atWork.size === alive.length;
    });
  });
}

for (const replicas of scale([3], [2, 3])) {
  test(`${replicas} replicas carry out the ${PROVIDER_LIMIT} operations that a provider takes, and never more`, async () => {
    await using backlog = await makeBacklog(hetzner, PROVIDER_LIMIT, { WORKER_CONCURRENCY: String(PROVIDER_LIMIT) });
    await backlog.drain(replicas, async (alive) => {
      const atWork = await backlog.atWork();
      const count = [...atWork.values()].flat().length;
      assert.ok(count <= PROVIDER_LIMIT, `${count} operations at once`);
      return count === PROVIDER_LIMIT && [...atWork.keys()].every((replica) => alive.includes(replica));
    });
  });
}

/** A cloud whose servers do not come up by themselves. */
interface Cloud {
  settings: Record<string, string>;
  /** Of a create, besides what serverRequest says. */
  spec: Record<string, unknown>;
  /** Operations whose servers are not up yet. */
  unsettled(): Promise<string[]>;
  /** Brings up the servers of these operations. */
  settle(operations: string[]): Promise<void>;
}

function simulatedCloud(books: Books): Cloud {
  const unsettled = "from simulated_cloud.servers where settles_at = 'infinity' order by created_at";
  return {
    settings: { SIMULATED_LATENCY_MS: '0', SIMULATED_FAULTS: 'stuck=1' },
    spec: {},
    unsettled: async () =>
      (await books.query<{ id: string }>(`select operation_id as id ${unsettled}`)).map(({ id }) => id),
    async settle(operations) {
      const settle = 'update simulated_cloud.servers set settles_at = clock_timestamp() where operation_id = any($1)';
      await books.query(settle, [operations]);
    },
  };
}

async function hetzner(_books: Books, stack: AsyncDisposableStack): Promise<Cloud> {
  const fake = stack.use(await startFakeHetzner({ settle: { create: NEVER } }));
  const waiting = () => [...fake.servers.values()].filter(({ status }) => status === 'initializing');
  const operationOf = ({ labels }: ReturnType<typeof waiting>[number]) => labels['provisioning-operation'] ?? '';
  return {
    settings: {
      PROVIDERS: 'hetzner',
      HETZNER_ENDPOINT: fake.endpoint,
      HETZNER_TOKEN: fake.token,
      HETZNER_CALLS_PER_MINUTE: '60000',
    },
    spec: { provider: 'hetzner', zone: 'fsn1' },
    unsettled: async () => waiting().map(operationOf),
    async settle(operations) {
      for (const server of waiting())
        if (operations.includes(operationOf(server))) Object.assign(server, { status: 'running', locked: false });
    },
  };
}

interface Backlog extends AsyncDisposable {
  /** What is at work at the cloud, by the replica that has it. */
  atWork(): Promise<Map<string, string[]>>;
  /**
   * Carries the backlog out.
   * @param isFull is asked over and over whether all slots of the replicas that are alive are taken; it asserts that none
   * is taken twice. What is at work only grows between two of its answers that are true.
   */
  drain(replicas: number, isFull: (alive: string[]) => Promise<boolean>): Promise<void>;
}

/** @param slots operations at once: half of them end in each round, and as many are accepted. */
async function makeBacklog(
  createCloud: (books: Books, stack: AsyncDisposableStack) => Cloud | Promise<Cloud>,
  slots: number,
  settings: Record<string, string> = {},
): Promise<Backlog> {
  const stack = new AsyncDisposableStack();
  try {
    const database = stack.use(await createTestDatabase({ poolSize: 1 }));
    const books = stack.use(await openBooks({ databaseUrl: database.url }));
    const cloud = await createCloud(books, stack);
    // The same place for all: the key that secrets are encrypted under lies there.
    const { directory: dataDir } = stack.use(await temporaryDataDir());
    const start = async (ROLE: string) => {
      const own = { ROLE, POOL_SIZE: '8', WORKER_CONCURRENCY: String(WORKER_LIMIT), ...cloud.settings, ...settings };
      return stack.use(await startTestServer({ databaseUrl: database.url, dataDir, settings: own }));
    };
    const startWorker = async () => {
      const server = await start('worker');
      const rows = await books.query<{ id: string }>('select id from provisioning.replicas where pid = $1', [
        server.process.pid,
      ]);
      const [{ id } = assert.fail('the worker is not among the replicas')] = rows;
      return { id, server };
    };
    const { admin } = await start('api');
    await createServers(admin, 'waits', 2 * slots, 10, cloud.spec);

    const drain: Backlog['drain'] = async (replicas, isFull) => {
      const alive: { id: string; server: TestServer }[] = await Promise.all(
        Array.from({ length: replicas }, startWorker),
      );
      for (let round = 1; round <= ROUNDS; round += 1) {
        const full = () => isFull(alive.map(({ id }) => id));
        await until(full, `all slots to be taken in round ${round}`, TIMEOUT_MS);
        const ending = (await cloud.unsettled()).filter((_, n) => n % 2 === round % 2);
        // While slots come free here, hints of new work come from there.
        const more = createServers(admin, `round-${round}`, ending.length, 10, cloud.spec);
        await cloud.settle(ending);
        if (round % 2 === 0) {
          await alive.shift()?.server.kill();
          alive.push(await startWorker());
        }
        await more;
      }
      const ended = async () => {
        await cloud.settle(await cloud.unsettled());
        return allEnded(books);
      };
      await until(ended, 'all operations to end', TIMEOUT_MS).catch(() => untilAllEnded(books, 0));
      await assertAllCompleted(books);
    };
    return {
      drain,
      async atWork() {
        const rows = await books.query<{ replica: string; operations: string[] }>(
          `select executor_id as replica, array_agg(workflow_uuid) as operations from dbos.workflow_status
           where workflow_uuid = any($1) group by executor_id`,
          [await cloud.unsettled()],
        );
        return new Map(rows.map(({ replica, operations }) => [replica, operations]));
      },
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type {
  MutationOptions,
  Provider,
  ProviderServer,
  ProviderServerStatus,
  ServerSpec,
} from '../../../src/providers/contract.ts';

/** What the suite needs in order to hold a provider to docs/contracts/provider.md. */
export interface ProviderSetup {
  provider: Provider;
  /** A spec the provider can make, with the overrides laid over it. */
  spec(overrides?: Partial<ServerSpec>): ServerSpec;
  /** The next create is carried out by the provider, and its answer is lost on the way back. */
  loseNextCreateAnswer?(): Promise<void> | void;
  /** The next server is made and then left short of running, as if the caller had died between two requests. */
  leaveNextCreateHalfDone?(): Promise<void> | void;
  /** Requests that reached the provider's place so far. */
  requestCounts?(): { reads: number; mutations: number };
  /** What the place itself does not refuse, or does twice, though the real one does not: by rule, in words. */
  lax?: Readonly<Record<string, string>>;
  /** Releases what the setup made; the suite has deleted its servers by then. */
  dispose(): Promise<void>;
  /** How long a server may take to reach a status, in milliseconds (default 30,000). */
  patienceMs?: number;
}

const DEFAULT_PATIENCE_MS = 30_000;
const OBSERVE_INTERVAL_MS = 100;

/** What every group of tests works with. */
export type Suite = ReturnType<typeof openSuite>;

/** @param setup read at each use: it exists from the first test on. */
export function openSuite(setup: () => ProviderSetup) {
  // Its own workspace, so that what others make at the same place does not count.
  const workspace = `suite-${randomBytes(4).toString('hex')}`;
  const operations = new Set<string>();

  const newOperation = (): MutationOptions => {
    const operationId = randomUUID();
    operations.add(operationId);
    return permitted(operationId);
  };
  const newSpec = (overrides: Partial<ServerSpec> = {}) =>
    setup().spec({ workspace, hostname: `host-${randomBytes(4).toString('hex')}`, ...overrides });
  const ours = async () => (await setup().provider.listServers()).filter((server) => server.workspace === workspace);

  /** Observes until `done` likes what it sees; undefined stands for an absent server. */
  const observeUntil = async (ref: string, wanted: string, done: (server: ProviderServer | undefined) => boolean) => {
    const deadline = Date.now() + (setup().patienceMs ?? DEFAULT_PATIENCE_MS);
    for (;;) {
      const server = (await setup().provider.observeServers([ref])).get(ref);
      if (done(server)) return server;
      if (Date.now() > deadline) assert.fail(`${ref} is ${server?.status ?? 'absent'}, not ${wanted}`);
      await delay(OBSERVE_INTERVAL_MS);
    }
  };
  const untilStatus = async (ref: string, status: ProviderServerStatus): Promise<ProviderServer> => {
    const server = await observeUntil(ref, status, (observed) => observed?.status === status);
    assert.ok(server);
    return server;
  };

  return {
    get setup() {
      return setup();
    },
    workspace,
    operations,
    newOperation,
    newSpec,
    /** The suite's own servers, of all that are listed. */
    ours,
    oursFor: async (operationId: string) => (await ours()).filter((server) => server.operation_id === operationId),
    untilStatus,
    untilAbsent: (ref: string) => observeUntil(ref, 'absent', (server) => server === undefined),
    makeRunning: async (options = newOperation()) => {
      const { ref } = await setup().provider.ensureServer(newSpec(), options);
      return untilStatus(ref, 'running');
    },
    deleteAll: async () => {
      for (const operationId of operations) {
        const server = await setup().provider.findServer(operationId);
        if (server) await setup().provider.deleteServer(server.ref, permitted(operationId));
      }
    },
  };
}

export function skipFor(t: TestContext, hook: keyof ProviderSetup): void {
  t.skip(`this provider's setup offers no ${hook}`);
}

/** @returns whether the place is lax there: then the test is skipped, and says so. */
export function isLax(t: TestContext, { setup }: Suite, rule: string): boolean {
  const why = setup.lax?.[rule];
  if (why !== undefined) t.skip(`this provider's place ${why}`);
  return why !== undefined;
}

export function assertRetryable(error: unknown): void {
  assert.ok(error instanceof Error);
  assert.equal(error.name, 'ProviderError');
  assert.equal(Reflect.get(error, 'retryable'), true, error.message);
}

function permitted(operationId: string): MutationOptions {
  return { operationId, guard: () => {} };
}

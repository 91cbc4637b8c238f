/** What the contract tests of the clouds have in common. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { MutationOptions, Provider, ProviderErrorCode, ServerSpec } from '../../src/providers/contract.ts';
import type { Fake } from '../clouds/fake.ts';
import { providerSuite } from './provider.testsuite.ts';

/** Of every provider that these tests open: they are not about the budget. */
export const COMMON = { installation: 'test', limit: { calls: 60_000, perSeconds: 60 } };

/** What a stand-in can refuse creates with. */
interface Refusing extends Fake {
  refusing: { creates: { status: number; code: string; message: string; problem?: boolean } | null };
  created: ReadonlyMap<string, number>;
}

interface Opened<F> extends AsyncDisposable {
  fake: F;
  provider: Provider;
}

/** Opens a stand-in and a provider that talks to it; both end with what is returned. */
export function opener<F extends Fake, S>(start: (settings?: S) => Promise<F>, connect: (fake: F) => Provider) {
  return async (settings?: S): Promise<Opened<F>> => {
    const fake = await start(settings);
    const provider = connect(fake);
    return {
      fake,
      provider,
      async [Symbol.asyncDispose]() {
        await provider.close?.();
        await fake[Symbol.asyncDispose]();
      },
    };
  };
}

/** Makes specs of a small server in a zone. */
export function specsIn(zone: string) {
  return (overrides: Partial<ServerSpec> = {}): ServerSpec => ({
    ...{ workspace: 'w', hostname: 'web-1', plan: '2xCPU-4GB', zone, tags: [] },
    ...overrides,
  });
}

export function permitted(): MutationOptions {
  return { operationId: randomUUID(), guard: () => {} };
}

/** Holds a cloud's provider to the whole contract. @param create what its create looks like at the stand-in. */
export function cloudSuite(
  name: string,
  open: () => Promise<Opened<Fake>>,
  spec: (overrides?: Partial<ServerSpec>) => ServerSpec,
  create: RegExp,
): void {
  providerSuite(name, async () => {
    const { fake, provider } = await open();
    return {
      provider,
      spec,
      loseNextCreateAnswer: () => fake.next(create, 'lost_answer'),
      requestCounts: fake.counts,
      dispose: async () => fake[Symbol.asyncDispose](),
    };
  });
}

/** P9: two processes that make one server at once make one. */
export async function assertOneForTwo(
  one: Provider,
  other: Provider,
  spec: ServerSpec,
  afterEach: (ref: string, options: MutationOptions) => Promise<void> = async () => {},
): Promise<void> {
  for (let round = 0; round < 5; round++) {
    const options = permitted();
    await Promise.all([one.ensureServer(spec, options), other.ensureServer(spec, options)]);
    const { ref } = await one.ensureServer(spec, options);
    const listed = (await other.listServers()).filter((server) => server.operation_id === options.operationId);
    assert.deepEqual(
      listed.map((server) => server.ref),
      [ref],
    );
    await afterEach(ref, options);
  }
}

/** P30, P32: what a user can cause is refused with these codes and words, and nothing is made. */
export async function assertRefused(
  { fake, provider }: Opened<Refusing>,
  spec: ServerSpec,
  cases: readonly (readonly [status: number, code: string, becomes: ProviderErrorCode, words: RegExp])[],
  shape: { problem?: boolean } = {},
): Promise<void> {
  for (const [status, code, becomes, message] of cases) {
    fake.refusing.creates = { status, code, message: `refused with ${code}`, ...shape };
    const refused = { code: becomes, retryable: false, message };
    await assert.rejects(provider.ensureServer(spec, permitted()), refused, code);
  }
  fake.refusing.creates = null;
  assert.equal(fake.created.size, 0);
}

/** What holds for the provider of every cloud, against its stand-in. What differs between them is data. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import type {
  MutationOptions,
  Provider,
  ProviderError,
  ProviderErrorCode,
  ServerSpec,
} from '../../src/providers/contract.ts';
import type { Fake } from '../clouds/fake.ts';
import { providerSuite } from './provider.testsuite.ts';

/** Of every provider that these tests open: they are not about the budget. */
export const COMMON = { installation: 'test', limit: { calls: 60_000, perSeconds: 60 } };
/** A part of credentials that are wrong. */
export const CANARY = 'canary-secret';

const KEY = `ssh-ed25519 ${Buffer.from('a public key').toString('base64')} provisioning`;

/** Not a key: nothing here looks into it. */
export const HOST_KEY = {
  private_key: '-----BEGIN-----\nprivate\n-----END-----\n',
  public_key: 'ssh-ed25519 AAAAhost x',
};

/** Asserts that cloud-init gets the host key, and no reason to make others. */
export function assertGivesHostKey(userData: string): void {
  const document = /#cloud-config\n[\s\S]*?(?=\n--==|$)/.exec(userData)?.[0] ?? '';
  const { ssh_deletekeys: deleted, ssh_keys: keys } = parse(document) as Record<string, unknown>;
  const { private_key: ed25519_private, public_key: ed25519_public } = HOST_KEY;
  assert.deepEqual([deleted, keys], [true, { ed25519_private, ed25519_public }]);
}

/** A stand-in that can refuse creates. */
interface RefusingFake extends Fake {
  refusing: { creates: { status: number; code: string; message: string; problem?: boolean } | null };
  /** Creates that took effect, by operation. */
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

/** How a cloud refuses a create, and what that becomes. */
type Refusal = readonly [status: number, code: string, becomes: ProviderErrorCode, words: RegExp];

interface Cloud<F extends RefusingFake> {
  name: string;
  spec: (overrides?: Partial<ServerSpec>) => ServerSpec;
  open: (settings?: { settle: { create: number } }) => Promise<Opened<F>>;
  /** Another provider for the same stand-in. `stranger`: with credentials that it does not accept and that hold `CANARY`. */
  connect: (fake: F, own: { timeoutMs?: number; stranger?: boolean }) => Provider;
  /** What its create looks like at the stand-in. */
  create: RegExp;
  refusals: readonly Refusal[];
  /** Refusals of a create that may succeed later. */
  passing: readonly (readonly [status: number, code: string])[];
  /** Whether it also refuses in the shape of RFC 9457. */
  problem?: boolean;
  /** Servers that fill several pages of its lists, and the reads that observing them costs. */
  pages?: { servers: number; reads: number };
}

/** Holds a cloud's provider to the whole contract, and to what all clouds have in common beyond it. */
export function cloudSuite<F extends RefusingFake>(cloud: Cloud<F>): void {
  const { name, spec, open, connect, create } = cloud;
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

  describe(`what clouds have in common: ${name}`, () => {
    test('P9: two processes that make one server at once make one', async () => {
      await using it = await open();
      const other = connect(it.fake, {});
      for (let round = 1; round <= 5; round++) {
        const options = permitted();
        const wanted = spec({ ssh_public_key: KEY });
        await Promise.all([it.provider.ensureServer(wanted, options), other.ensureServer(wanted, options)]);
        const { ref } = await it.provider.ensureServer(wanted, options);
        const listed = await other.listServers();
        assert.deepEqual(
          listed.filter((server) => server.operation_id === options.operationId).map((server) => server.ref),
          [ref],
        );
        assert.equal(listed.length, round);
      }
      await other.close?.();
    });

    test('P30, P32: what a user can cause is refused once, with what to do', async () => {
      await using it = await open();
      for (const problem of cloud.problem === true ? [false, true] : [false]) {
        for (const [status, code, becomes, message] of cloud.refusals) {
          it.fake.refusing.creates = { status, code, message: `refused with ${code}`, problem };
          const refused = { code: becomes, retryable: false, message };
          await assert.rejects(it.provider.ensureServer(spec(), permitted()), refused, code);
        }
      }
      for (const [status, code] of cloud.passing) {
        it.fake.refusing.creates = { status, code, message: 'later' };
        await assert.rejects(it.provider.ensureServer(spec(), permitted()), { retryable: true }, code);
      }
      assert.equal(it.fake.created.size, 0);
    });

    test('P28, P30: garbage, half an answer, a lost one and none at all can be tried again', async () => {
      await using it = await open();
      const provider = connect(it.fake, { timeoutMs: 200 });
      for (const fault of [
        'garbage',
        'truncated',
        'lost_answer',
        'half_open',
        'lost_request',
        'server_error',
      ] as const) {
        const options = permitted();
        it.fake.next(create, fault);
        await assert.rejects(
          provider.ensureServer(spec(), options),
          { name: 'ProviderError', retryable: true },
          `${fault}`,
        );
        await provider.ensureServer(spec(), options);
        assert.equal(it.fake.created.get(options.operationId), 1, fault);
      }
      await provider.close?.();
    });

    test('P7, P33: a cloud that cannot be asked makes no spec wrong, and credentials are not told', async () => {
      await using it = await open();
      it.fake.chances.server_error = 1;
      await assert.rejects(it.provider.validate(spec()), { name: 'ProviderError', retryable: true });
      it.fake.chances.server_error = 0;
      const stranger = connect(it.fake, { stranger: true });
      await assert.rejects(stranger.validate(spec()), (error: ProviderError) => {
        assert.equal(error.code, 'AUTHENTICATION_FAILED');
        assert.ok(!JSON.stringify([error, String(error)]).includes(CANARY));
        return true;
      });
      await stranger.close?.();
    });

    const { pages } = cloud;
    if (pages === undefined) return;
    test('P16, P18: more servers than one page holds are all observed, and cost a call a page', async () => {
      await using it = await open({ settle: { create: 0 } });
      const made = await Promise.all(
        Array.from({ length: pages.servers }, () => it.provider.ensureServer(spec(), permitted())),
      );
      const before = it.fake.counts().reads;
      const seen = await it.provider.observeServers(made.map(({ ref }) => ref));
      assert.equal(seen.size, pages.servers);
      assert.equal(it.fake.counts().reads - before, pages.reads);
      assert.ok([...seen.values()].every(({ ip_address: address }) => address !== null));
    });
  });
}

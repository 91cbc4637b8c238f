import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProcedureContext, StepCall } from '../../engine/procedure.ts';
import type { Provider, ProviderServer, ServerSpec } from '../../providers/contract.ts';
import { untilRunning } from './procedure.ts';

const spec = {
  ...{ workspace: 'a', hostname: 'h', plan: 'p', zone: 'z', tags: [] },
  ssh_host_key: { public_key: 'ssh-ed25519 AAAA', private_key: 'private' },
} satisfies ServerSpec;
const server = { ref: 'r', hostname: 'h', status: 'running', ip_address: '192.0.2.1' } as ProviderServer;

/** @param failures so many times the cloud refuses. */
const cloud = (failures = 0) =>
  ({
    async ensureServer() {
      failures -= 1;
      if (failures >= 0) throw new Error('refused');
      return server;
    },
  }) as unknown as Provider;

/** Runs steps as the engine does. @param options.recorded what is not run again. */
function make(provider: Provider, options: { recorded?: ProviderServer; interrupted?: boolean } = {}) {
  const step = async (_name: string, work: (call: StepCall) => Promise<unknown>) => {
    if (options.recorded !== undefined) return options.recorded;
    for (let tries = 1; ; tries += 1) {
      try {
        return await work({ repeated: options.interrupted === true || tries > 1 } as StepCall);
      } catch (error) {
        if (tries === 3) throw error;
      }
    }
  };
  return untilRunning(step as ProcedureContext['step'], spec, { withProvider: (work) => work(provider) });
}

test('the host key counts only where it is certain that the server was made with it', async () => {
  const given = async (made: ReturnType<typeof make>) => (await made).host_key;
  assert.equal(await given(make(cloud())), spec.ssh_host_key.public_key);
  const without = { ...cloud(), givesHostKey: async () => false };
  assert.equal(await given(make(without)), null, 'its image takes none');
  assert.equal(await given(make(cloud(2))), spec.ssh_host_key.public_key, 'tried again by the same process');
  assert.equal(await given(make(cloud(), { interrupted: true })), null, 'begun by a process that may have sent none');
  assert.equal(await given(make(cloud(1), { interrupted: true })), null);
  assert.equal(await given(make(cloud(), { recorded: server })), null, 'made by a version that sends none');
});

test('P45: a server that comes up off is switched on, so often and no more, with pauses between', async () => {
  /** @param stays so many starts do not bring it up. */
  const lives = async (stays: number) => {
    const calls = { starts: 0, looks: 0 };
    const off = { ...server, status: 'stopped' as const };
    const provider = {
      name: 'cloud',
      ensureServer: async () => ({ ...off, status: 'creating' }),
      async observeServers() {
        calls.looks += 1;
        return new Map([['r', calls.starts > stays ? server : off]]);
      },
      async startServer() {
        calls.starts += 1;
      },
    } as unknown as Provider;
    const call = { signal: new AbortController().signal, repeated: false, log: async () => {} } as unknown as StepCall;
    const step = ((_name: string, work: (call: StepCall) => Promise<unknown>) =>
      work(call)) as unknown as ProcedureContext['step'];
    const startPausesMs = [200, 200, 200];
    const made = await untilRunning(step, spec, {
      withProvider: (work) => work(provider),
      startPausesMs,
    }).catch((error: unknown) => error);
    return { made, calls };
  };
  for (const stays of [0, 1, 2]) {
    const { made, calls } = await lives(stays);
    assert.deepEqual([Reflect.get(Object(made), 'status'), calls.starts], ['running', stays + 1]);
  }
  const { made, calls } = await lives(Number.POSITIVE_INFINITY);
  assert.equal(Reflect.get(Object(made), 'code'), 'SERVER_ERROR');
  assert.match(String(made), /The server r at cloud was switched on 3 times and is off again/);
  assert.equal(calls.starts, 3);
  assert.ok(calls.looks < 15, `${calls.looks} looks in 0.6 s`);
});

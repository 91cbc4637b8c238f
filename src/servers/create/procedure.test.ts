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
  assert.equal(await given(make(cloud(2))), spec.ssh_host_key.public_key, 'tried again by the same process');
  assert.equal(await given(make(cloud(), { interrupted: true })), null, 'begun by a process that may have sent none');
  assert.equal(await given(make(cloud(1), { interrupted: true })), null);
  assert.equal(await given(make(cloud(), { recorded: server })), null, 'made by a version that sends none');
});

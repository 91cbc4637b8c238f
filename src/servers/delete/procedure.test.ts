import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Database } from '../../database/pool.ts';
import type { Finished, ProcedureContext, StepCall } from '../../engine/procedure.ts';
import type { Provider, ProviderServer } from '../../providers/contract.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import { cleanupProcedure } from './procedure.ts';

const server = { ref: 'r', hostname: 'h', status: 'running', operation_id: 'o' } as ProviderServer;
const LAG_MS = 50;

test('what a cleanup has deleted, and is still shown when lists cannot be behind any more, is deleted again', async () => {
  const calls: string[] = [];
  // It does not show the server at first, so that the first delete is believed; then it does.
  const provider = {
    name: 'cloud',
    listingLagMs: LAG_MS,
    observeServers: async () => new Map(),
    readServer: async () => null,
    async deleteServer(ref: string) {
      calls.push(ref);
    },
    findServer: async () => (calls.length < 2 ? server : null),
  } as unknown as Provider;
  const call = { signal: new AbortController().signal, log: async () => {}, waited: () => {} } as unknown as StepCall;
  const context = {
    workspace: 'w',
    step: (_name: string, work: (call: StepCall) => Promise<unknown>) => work(call),
    finish: async () => ({ finished: true }) as Finished,
  } as unknown as ProcedureContext;
  const providers = { for: async () => provider } as unknown as ProviderRegistry;
  // What is restored needs no database before the end.
  const input = {
    ...{ server_id: 's', provider: 'cloud', provider_ref: 'r', create_operation_id: 'o' },
    restore: { operationId: 'earlier' },
  };
  await cleanupProcedure({} as Database, providers).run(input as never, context);
  assert.deepEqual(calls, ['r', 'r']);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProcedureContext, StepCall } from '../../../src/engine/procedure.ts';
import type { MutationOptions, Provider, ServerSpec } from '../../../src/providers/contract.ts';
import { untilRunning } from '../../../src/servers/create/procedure.ts';
import { assertRetryable, isLax, type Suite, skipFor } from './context.ts';

/** Looks that a start costs which takes no time to speak of: the pause between two of them grows. */
const MAX_LOOKS = 60;

/** Makes a server as its procedure does. Each step runs once. */
function makeUntilRunning(provider: Provider, spec: ServerSpec, { operationId, guard }: MutationOptions) {
  const { signal } = new AbortController();
  const call = { operationId, guard, signal, repeated: false, waited: () => {}, log: async () => {} };
  const step = (_name: string, work: (call: StepCall) => Promise<unknown>) => work(call as unknown as StepCall);
  return untilRunning(step as ProcedureContext['step'], spec, { withProvider: (work) => work(provider) });
}

/** Making servers: once and only once, whatever is lost on the way. */
export function makingTests(suite: Suite): void {
  const { newOperation, newSpec, oursFor, untilStatus, untilAbsent, workspace } = suite;

  test('P8: ensuring twice makes one server', async () => {
    const options = newOperation();
    const spec = newSpec();
    const first = await suite.setup.provider.ensureServer(spec, options);
    const second = await suite.setup.provider.ensureServer(spec, options);
    assert.equal(second.ref, first.ref);
    assert.equal((await oursFor(options.operationId)).length, 1);
  });

  test('P8: another operation makes another server, even of the same spec', async () => {
    const [one, other] = [newOperation(), newOperation()];
    const spec = newSpec();
    const first = await suite.setup.provider.ensureServer(spec, one);
    const second = await suite.setup.provider.ensureServer({ ...spec, hostname: newSpec().hostname }, other);
    assert.notEqual(first.ref, second.ref);
  });

  test('P9: ensuring at once makes one server', async (t) => {
    if (isLax(t, suite, 'P9')) return;
    const options = newOperation();
    const spec = newSpec();
    const servers = await Promise.all(
      Array.from({ length: 5 }, () => suite.setup.provider.ensureServer(spec, options)),
    );
    assert.equal(new Set(servers.map((server) => server.ref)).size, 1);
    assert.equal((await oursFor(options.operationId)).length, 1);
  });

  test('P10: a create whose answer is lost is found again, not repeated', async (t) => {
    if (!suite.setup.loseNextCreateAnswer) return skipFor(t, 'loseNextCreateAnswer');
    const options = newOperation();
    const spec = newSpec();
    await suite.setup.loseNextCreateAnswer();
    // Whether this call fails or looks again by itself is the provider's affair.
    await suite.setup.provider.ensureServer(spec, options).catch(assertRetryable);
    const server = await suite.setup.provider.ensureServer(spec, options);
    assert.deepEqual(
      (await oursFor(options.operationId)).map((found) => found.ref),
      [server.ref],
    );
    await untilStatus(server.ref, 'running');
  });

  test('P11: a half-made server is finished', async (t) => {
    if (!suite.setup.leaveNextCreateHalfDone) return skipFor(t, 'leaveNextCreateHalfDone');
    const options = newOperation();
    const spec = newSpec();
    await suite.setup.leaveNextCreateHalfDone();
    await suite.setup.provider.ensureServer(spec, options).catch(assertRetryable);
    const server = await suite.setup.provider.ensureServer(spec, options);
    assert.deepEqual(
      (await oursFor(options.operationId)).map((found) => found.ref),
      [server.ref],
    );
    await untilStatus(server.ref, 'running');
  });

  test('P45: a server that is off once it is made is switched on, with few calls', async () => {
    const options = newOperation();
    const spec = newSpec();
    const { provider } = suite.setup;
    const { ref } = await provider.ensureServer(spec, options);
    await untilStatus(ref, 'running');
    await provider.stopServer(ref, options);
    await untilStatus(ref, 'stopped');
    const before = suite.setup.requestCounts?.();
    const server = await makeUntilRunning(provider, spec, options);
    assert.deepEqual([server.ref, server.status], [ref, 'running']);
    const after = suite.setup.requestCounts?.();
    if (before === undefined || after === undefined) return;
    assert.equal(after.mutations - before.mutations, 1, 'one start');
    assert.ok(after.reads - before.reads < MAX_LOOKS, `${after.reads - before.reads} reads`);
  });

  test('P13: a half-made server can be found and deleted', async (t) => {
    if (!suite.setup.leaveNextCreateHalfDone) return skipFor(t, 'leaveNextCreateHalfDone');
    const options = newOperation();
    await suite.setup.leaveNextCreateHalfDone();
    await suite.setup.provider.ensureServer(newSpec(), options).catch(assertRetryable);
    const left = await suite.setup.provider.findServer(options.operationId);
    assert.ok(left);
    await suite.setup.provider.deleteServer(left.ref, options);
    await untilAbsent(left.ref);
  });

  test('P14, P19: a server is what was asked for, carries the labels, and gets an address', async () => {
    const options = newOperation();
    const spec = newSpec({ tags: ['blue', 'edge'] });
    const { ref } = await suite.setup.provider.ensureServer(spec, options);
    const server = await untilStatus(ref, 'running');
    const { hostname, plan, zone } = spec;
    assert.deepEqual(
      {
        ref: server.ref,
        hostname: server.hostname,
        plan: server.plan,
        zone: server.zone,
        operation_id: server.operation_id,
        workspace: server.workspace,
      },
      { ref, hostname, plan, zone, operation_id: options.operationId, workspace },
    );
    assert.ok(server.ip_address);
  });

  test('P13, P27: a create that is cancelled on its way leaves one server that can be found, or none', async () => {
    const controller = new AbortController();
    const reason = new Error('cancelled');
    const options = newOperation();
    const spec = newSpec();
    const guard = () => controller.abort(reason);
    const outcome = await suite.setup.provider
      .ensureServer(spec, { ...options, guard, signal: controller.signal })
      .catch((error: unknown) => assert.equal(error, reason));
    const found = await suite.setup.provider.findServer(options.operationId);
    if (outcome) assert.equal(found?.ref, outcome.ref);
    const server = await suite.setup.provider.ensureServer(spec, options);
    if (found) assert.equal(server.ref, found.ref);
    assert.equal((await oursFor(options.operationId)).length, 1);
  });
}

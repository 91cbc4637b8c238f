import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MutationOptions } from '../../../src/providers/contract.ts';
import { isLax, type Suite } from './context.ts';

/** "At once" for a human who cancels. */
const PROMPT_MS = 1000;

/** Starting, stopping, deleting; guard and signal. */
export function changingTests(suite: Suite): void {
  const { newOperation, newSpec, makeRunning, untilStatus, untilAbsent } = suite;

  test('P20: starting, stopping and restarting, also when it is already so', async () => {
    const options = newOperation();
    const { ref } = await makeRunning(options);
    await suite.setup.provider.startServer(ref, options);
    await untilStatus(ref, 'running');
    await suite.setup.provider.stopServer(ref, options);
    await untilStatus(ref, 'stopped');
    await suite.setup.provider.stopServer(ref, options);
    await untilStatus(ref, 'stopped');
    await suite.setup.provider.startServer(ref, options);
    await untilStatus(ref, 'running');
    await suite.setup.provider.restartServer(ref, options);
    assert.ok((await untilStatus(ref, 'running')).ip_address);
  });

  test('P8: ensuring does not start what was stopped on purpose', async () => {
    const options = newOperation();
    const spec = newSpec();
    const { ref } = await suite.setup.provider.ensureServer(spec, options);
    await untilStatus(ref, 'running');
    await suite.setup.provider.stopServer(ref, options);
    await untilStatus(ref, 'stopped');
    assert.equal((await suite.setup.provider.ensureServer(spec, options)).ref, ref);
    await untilStatus(ref, 'stopped');
  });

  test('P21: starting, stopping and restarting what does not exist is NOT_FOUND', async (t) => {
    if (isLax(t, suite, 'P21')) return;
    const options = newOperation();
    const { ref } = await makeRunning(options);
    await suite.setup.provider.deleteServer(ref, options);
    await untilAbsent(ref);
    for (const change of ['startServer', 'stopServer', 'restartServer'] as const) {
      await assert.rejects(suite.setup.provider[change](ref, options), {
        name: 'ProviderError',
        code: 'NOT_FOUND',
        retryable: false,
      });
    }
  });

  test('P22: deleting twice, at once, and what does not exist succeeds', async (t) => {
    if (isLax(t, suite, 'P22')) return;
    const options = newOperation();
    const { ref } = await makeRunning(options);
    await Promise.all([1, 2, 3].map(() => suite.setup.provider.deleteServer(ref, options)));
    await untilAbsent(ref);
    await suite.setup.provider.deleteServer(ref, options);
    assert.equal(await suite.setup.provider.findServer(options.operationId), null);
  });

  test('P22: a stopped server is deleted as well', async () => {
    const options = newOperation();
    const { ref } = await makeRunning(options);
    await suite.setup.provider.stopServer(ref, options);
    await untilStatus(ref, 'stopped');
    await suite.setup.provider.deleteServer(ref, options);
    await untilAbsent(ref);
  });

  test('P25: a guard that throws stops every change, and its error comes through', async () => {
    const { ref } = await makeRunning();
    const mutations = suite.setup.requestCounts?.().mutations;
    const fenced = new Error('another process took over');
    const refused: MutationOptions = {
      ...newOperation(),
      guard: () => {
        throw fenced;
      },
    };
    const isFenced = (error: unknown) => error === fenced;
    await assert.rejects(suite.setup.provider.ensureServer(newSpec(), refused), isFenced);
    await assert.rejects(suite.setup.provider.stopServer(ref, refused), isFenced);
    await assert.rejects(suite.setup.provider.restartServer(ref, refused), isFenced);
    await assert.rejects(suite.setup.provider.deleteServer(ref, refused), isFenced);
    assert.equal(await suite.setup.provider.findServer(refused.operationId), null);
    assert.equal((await suite.setup.provider.observeServers([ref])).get(ref)?.status, 'running');
    assert.equal(suite.setup.requestCounts?.().mutations, mutations);
  });

  test('P25: each change passes the guard first', async () => {
    let passed = 0;
    const counting = { ...newOperation(), guard: () => void passed++ };
    const mutations = suite.setup.requestCounts?.().mutations;
    const { ref } = await suite.setup.provider.ensureServer(newSpec(), counting);
    assert.ok(passed > 0);
    const afterCreate = passed;
    await untilStatus(ref, 'running');
    await suite.setup.provider.deleteServer(ref, counting);
    assert.ok(passed > afterCreate);
    if (suite.setup.requestCounts && mutations !== undefined)
      assert.ok(passed >= suite.setup.requestCounts().mutations - mutations);
  });

  test('P26: after the signal has fired nothing is sent, and its reason is thrown', async () => {
    const { ref } = await makeRunning();
    const before = suite.setup.requestCounts?.();
    const reason = new Error('cancelled');
    const signal = AbortSignal.abort(reason);
    const options = { ...newOperation(), signal };
    const isReason = (error: unknown) => error === reason;
    await assert.rejects(suite.setup.provider.findServer(options.operationId, { signal }), isReason);
    await assert.rejects(suite.setup.provider.listServers({ signal }), isReason);
    await assert.rejects(suite.setup.provider.observeServers([ref], { signal }), isReason);
    await assert.rejects(suite.setup.provider.ensureServer(newSpec(), options), isReason);
    await assert.rejects(suite.setup.provider.stopServer(ref, options), isReason);
    await assert.rejects(suite.setup.provider.deleteServer(ref, options), isReason);
    assert.deepEqual(suite.setup.requestCounts?.(), before);
    assert.equal(await suite.setup.provider.findServer(options.operationId), null);
    assert.equal((await suite.setup.provider.observeServers([ref])).get(ref)?.status, 'running');
  });

  test('P26: the signal ends reading at once', async () => {
    const controller = new AbortController();
    const reason = new Error('cancelled');
    const reading = suite.setup.provider.listServers({ signal: controller.signal });
    const begun = performance.now();
    controller.abort(reason);
    await assert.rejects(reading, (error: unknown) => error === reason);
    assert.ok(performance.now() - begun < PROMPT_MS);
  });
}

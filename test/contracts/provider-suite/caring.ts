import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { until } from '../../support/server.ts';
import type { Suite } from './context.ts';

/** What looking after servers needs: everything in the account, labels as they were asked for, changes of them. */
export function caringTests(suite: Suite): void {
  const { newOperation, newSpec, makeRunning, untilStatus, untilAbsent, ours } = suite;

  test('P34: with unlabelled, the list holds at least what it holds without', async () => {
    const { ref } = await makeRunning();
    const all = new Set((await suite.setup.provider.listServers({ unlabelled: true })).map((server) => server.ref));
    assert.ok(all.has(ref));
    for (const server of await ours()) assert.ok(all.has(server.ref), server.ref);
  });

  test('P36: tags come back as they were asked for', async (t) => {
    const options = newOperation();
    const { ref } = await suite.setup.provider.ensureServer(newSpec({ tags: ['env=prod', 'blue'] }), options);
    const { tags } = await untilStatus(ref, 'running');
    if (tags === undefined) return t.skip('this provider keeps no tags');
    assert.deepEqual(tags, ['blue', 'env=prod']);
  });

  test('P37: labels are replaced as a whole, the same again is success, and the server is then found by them', async (t) => {
    const { provider } = suite.setup;
    if (provider.labelServer === undefined) return t.skip('this provider cannot change labels');
    const made = newOperation();
    const { ref } = await suite.setup.provider.ensureServer(newSpec({ tags: ['env=prod', 'blue'] }), made);
    const before = await untilStatus(ref, 'running');
    const options = newOperation();
    const labels = { operationId: options.operationId, workspace: suite.workspace, tags: ['env=test', 'green'] };
    await provider.labelServer(ref, labels, options);
    await provider.labelServer(ref, labels, options);
    assert.equal((await provider.findServer(options.operationId))?.ref, ref);
    assert.equal(await provider.findServer(made.operationId), null);
    const { operation_id, workspace, tags, hostname, plan, installation } =
      (await provider.observeServers([ref])).get(ref) ?? assert.fail('it is gone');
    assert.deepEqual(
      { operation_id, workspace, tags, hostname, plan, installation },
      {
        ...{ operation_id: options.operationId, workspace: suite.workspace, tags: ['env=test', 'green'] },
        ...{ hostname: before.hostname, plan: before.plan, installation: before.installation },
      },
    );
  });

  test('P38: the plan of a stopped server is changed, the same again is success', async (t) => {
    const { provider } = suite.setup;
    if (provider.resizeServer === undefined) return t.skip('this provider cannot change plans');
    const options = newOperation();
    const { ref, plan, zone } = await makeRunning(options);
    if (suite.setup.lax?.P38 === undefined) {
      await assert.rejects(provider.resizeServer(ref, { plan, zone }, options), {
        name: 'ProviderError',
        code: 'CONFLICT',
      });
    }
    await provider.stopServer(ref, options);
    await untilStatus(ref, 'stopped');
    await provider.resizeServer(ref, { plan, zone }, options);
    await provider.resizeServer(ref, { plan, zone }, options);
    assert.equal((await provider.observeServers([ref])).get(ref)?.plan, plan);
    // Also another one, by the neutral name that several providers share.
    const others = (await provider.listPlans()).filter(({ name }) => /^\d+xCPU-\d+GB$/.test(name) && name !== plan);
    const other = others.find(({ prices }) => prices === undefined || zone in prices) ?? assert.fail('no other plan');
    await provider.resizeServer(ref, { plan: other.name, zone }, options);
    await until(
      async () => (await provider.observeServers([ref])).get(ref)?.plan === other.name,
      'the plan to be shown as it was asked for',
    );
  });

  test('P25, P21: labels and plan pass the guard, and are NOT_FOUND for what does not exist', async () => {
    const { provider } = suite.setup;
    const options = newOperation();
    const { ref, plan, zone } = await makeRunning(options);
    const fenced = new Error('another process took over');
    const refused = {
      ...options,
      guard: () => {
        throw fenced;
      },
    };
    const labels = { operationId: randomUUID(), workspace: suite.workspace, tags: [] };
    const calls = [
      (given: typeof options) => provider.labelServer?.(ref, labels, given) ?? null,
      (given: typeof options) => provider.resizeServer?.(ref, { plan, zone }, given) ?? null,
    ];
    for (const call of calls) {
      const sent = call(refused);
      if (sent !== null) await assert.rejects(sent, (error: unknown) => error === fenced);
    }
    await provider.deleteServer(ref, options);
    await untilAbsent(ref);
    for (const call of calls) {
      const sent = call(options);
      if (sent !== null) await assert.rejects(sent, { name: 'ProviderError', code: 'NOT_FOUND', retryable: false });
    }
  });
}

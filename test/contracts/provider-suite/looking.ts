import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { type Suite, skipFor } from './context.ts';

/** What a provider offers, and how its servers are found. */
export function lookingTests(suite: Suite): void {
  const { newOperation, newSpec, ours, makeRunning, untilAbsent, operations } = suite;

  test('P1: the name and the concurrency are usable', () => {
    assert.match(suite.setup.provider.name, /^[a-z][a-z0-9-]*$/);
    const { concurrency } = suite.setup.provider;
    assert.ok(concurrency === Number.POSITIVE_INFINITY || (Number.isInteger(concurrency) && concurrency >= 1));
  });

  test('P4: plans and zones have unique names and sane sizes', async () => {
    const [plans, zones] = await Promise.all([suite.setup.provider.listPlans(), suite.setup.provider.listZones()]);
    assert.ok(plans.length > 0 && zones.length > 0);
    assert.equal(new Set(plans.map((plan) => plan.name)).size, plans.length);
    assert.equal(new Set(zones.map((zone) => zone.name)).size, zones.length);
    for (const plan of plans) {
      assert.ok(Number.isInteger(plan.cpus) && plan.cpus > 0, plan.name);
      assert.ok(Number.isInteger(plan.memory_mb) && plan.memory_mb > 0, plan.name);
      assert.ok(plan.storage_gb === null || plan.storage_gb > 0, plan.name);
      const neutral = /^(\d+)xCPU-(\d+)GB$/.exec(plan.name);
      if (neutral)
        assert.deepEqual([plan.cpus, plan.memory_mb], [Number(neutral[1]), Number(neutral[2]) * 1024], plan.name);
    }
  });

  test('P5: what is listed can be asked for', async () => {
    assert.deepEqual(await suite.setup.provider.validate(newSpec()), []);
    const [plans, zones] = await Promise.all([suite.setup.provider.listPlans(), suite.setup.provider.listZones()]);
    const accepted = await Promise.all(
      plans.map(async ({ name: plan }) => {
        const problems = await Promise.all(
          zones.map(({ name: zone }) => suite.setup.provider.validate(newSpec({ plan, zone }))),
        );
        // What is sold out everywhere stays listed for the servers that stand.
        const soldOut = problems.flat().some(({ message }) => /is sold out in .* at the moment/.test(message));
        return soldOut || problems.some((found) => found.length === 0);
      }),
    );
    assert.deepEqual(
      plans.filter((_, index) => !accepted[index]).map((plan) => plan.name),
      [],
    );
  });

  test('P6: validation names every wrong field and the nearest valid values, and writes nothing', async () => {
    const mutations = suite.setup.requestCounts?.().mutations;
    const problems = await suite.setup.provider.validate(newSpec({ plan: '2xCPU-4G', zone: 'nowhere-1' }));
    assert.deepEqual(problems.map((problem) => problem.field).toSorted(), ['plan', 'zone']);
    const known = {
      plan: (await suite.setup.provider.listPlans()).flatMap((plan) => [plan.name, plan.native_name]),
      zone: (await suite.setup.provider.listZones()).map((zone) => zone.name),
    };
    for (const { field, near_matches } of problems) {
      assert.ok(near_matches.length > 0, `no near match for the ${field}`);
      if (field === 'plan' || field === 'zone') {
        assert.deepEqual(
          near_matches.filter((match) => !known[field].includes(match)),
          [],
        );
      }
    }
    assert.equal(suite.setup.requestCounts?.().mutations, mutations);
  });

  test('P15: a server is found by its operation, exactly', async () => {
    const options = newOperation();
    const { ref } = await suite.setup.provider.ensureServer(newSpec(), options);
    assert.equal((await suite.setup.provider.findServer(options.operationId))?.ref, ref);
    assert.equal(await suite.setup.provider.findServer(randomUUID()), null);
    assert.equal(await suite.setup.provider.findServer(options.operationId.slice(0, -1)), null);
  });

  test('P16: many servers are observed as cheaply as one', async (t) => {
    if (!suite.setup.requestCounts) return skipFor(t, 'requestCounts');
    const count = suite.setup.requestCounts;
    const made = await Promise.all([1, 2, 3].map(() => suite.setup.provider.ensureServer(newSpec(), newOperation())));
    const refs = made.map((server) => server.ref);
    const requestsFor = async (asked: string[]) => {
      const earlier = count().reads;
      const observed = await suite.setup.provider.observeServers(asked);
      assert.deepEqual([...observed.keys()].toSorted(), asked.toSorted());
      return count().reads - earlier;
    };
    assert.equal(await requestsFor([]), 0);
    assert.equal(await requestsFor(refs), await requestsFor(refs.slice(0, 1)));
  });

  test('P17: a server that does not exist is absent from what is observed', async () => {
    const [kept, deleted] = await Promise.all([makeRunning(), makeRunning()]);
    await suite.setup.provider.deleteServer(deleted.ref, newOperation());
    await untilAbsent(deleted.ref);
    const observed = await suite.setup.provider.observeServers([kept.ref, deleted.ref]);
    assert.deepEqual([...observed.keys()], [kept.ref]);
    assert.equal(observed.get(kept.ref)?.ref, kept.ref);
  });

  test('P39: a server that is asked for by itself is told as lists tell it, and null when it does not exist', async (t) => {
    const { provider } = suite.setup;
    if (provider.readServer === undefined) return t.skip('this provider has lists that never lag');
    const { ref } = await makeRunning();
    assert.deepEqual(await provider.readServer(ref), (await provider.observeServers([ref])).get(ref));
    await provider.deleteServer(ref, newOperation());
    await untilAbsent(ref);
    assert.equal(await provider.readServer(ref), null);
  });

  test('P18: the list holds exactly our servers', async () => {
    const listed = new Set((await ours()).map((server) => server.operation_id));
    const existing = new Set<string>();
    for (const operationId of operations)
      if (await suite.setup.provider.findServer(operationId)) existing.add(operationId);
    assert.ok(existing.size > 0);
    assert.deepEqual(listed, existing);
    assert.ok((await suite.setup.provider.listServers()).every((server) => server.operation_id !== null));
  });
}

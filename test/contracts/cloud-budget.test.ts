/** What the clouds' accounts bear: calls for many servers in flight, and waiting where there are too many. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { untilObserved } from '../../src/providers/observer.ts';
import { CLOUDS, startCloud } from '../clouds/all.ts';

/** What the provider is told of the limit. */
const LIMIT = { calls: 200, perSeconds: 1 };
const SERVERS = 100;

for (const name of CLOUDS) {
  test(`${name}: ${SERVERS} servers in flight are observed by a few calls, and never more than the limit`, async (t) => {
    const cloud = await startCloud(name, { limit: { calls: 220, perSeconds: 1 }, settleMs: 800 });
    await using _ = cloud.fake;
    const provider = cloud.provider(LIMIT);
    // When one fails, the others must not go on for ever.
    const over = new AbortController();
    t.after(() => over.abort());
    const { signal } = over;
    const refs = await Promise.all(
      Array.from({ length: SERVERS }, async () => {
        const { ref } = await provider.ensureServer(cloud.spec(), {
          operationId: randomUUID(),
          guard: () => {},
          signal,
        });
        await untilObserved(provider, ref, (server) => server?.status === 'running', signal);
        return ref;
      }),
    );
    assert.equal(new Set(refs).size, SERVERS);
    const { calls } = cloud.fake;
    const observations = calls.filter(({ line }) =>
      /label=provisioning-operation&|label_selector=provisioning-operation&|Filter.1.Name=tag-key|\/ip_address/.test(
        line,
      ),
    );
    const seconds = ((calls.at(-1)?.at ?? 0) - (calls[0]?.at ?? 0)) / 1_000;
    t.diagnostic(`${calls.length} calls in ${seconds.toFixed(1)} s, ${observations.length} of them observations`);
    assert.equal(cloud.fake.counts().throttled, 0, 'the cloud had to refuse calls');
    // AWS tells nothing of its limit: then it is used evenly, but for what may be saved up.
    if (name === 'aws') assert.ok(calls.length <= LIMIT.calls * (0.25 + 0.6 * seconds), `${calls.length} calls`);
    // Looking at each server twice a second, for as long as each was under way, would have been some 300.
    assert.ok(observations.length <= 25 * (seconds + 1), `${observations.length} observations in ${seconds} s`);
    assert.ok(observations.length < SERVERS * 2, `${observations.length} observations`);
    await provider.close?.();
  });

  test(`${name}: a cloud that asks for a pause gets it, and what waits says why`, async () => {
    const cloud = await startCloud(name);
    await using _ = cloud.fake;
    const provider = cloud.provider({ calls: 6_000, perSeconds: 60 });
    await provider.listPlans();
    cloud.fake.chances.throttled = 1;
    const said: string[] = [];
    let waited = 0;
    const making = provider.ensureServer(cloud.spec(), {
      operationId: randomUUID(),
      guard: () => {},
      onWait: (reason) => {
        said.push(reason);
        cloud.fake.chances.throttled = 0;
      },
      onWaited: (milliseconds) => {
        waited += milliseconds;
      },
    });
    await making;
    assert.match(said[0] ?? '', /asked for fewer calls/);
    assert.ok(waited > 800, `${waited} ms`);
    assert.equal(cloud.alive().length, 1);
    await provider.close?.();
  });
}

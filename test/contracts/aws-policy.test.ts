/** The policy that the documentation gives for AWS allows what the provider asks for, and nothing else. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { untilObserved } from '../../src/providers/observer.ts';
import { startCloud } from '../clouds/all.ts';

const ROOT = new URL('../../', import.meta.url);

/** Tags are set by RunInstances itself, which takes a right of its own. */
const WITHOUT_A_CALL = ['CreateTags'];

function policyActions(): string[] {
  const page = readFileSync(new URL('docs/providers/aws.md', ROOT), 'utf8');
  const policy: { Statement: { Effect: string; Action: string | string[] }[] } = JSON.parse(
    /```json\n([\s\S]*?)```/.exec(page)?.[1] ?? '',
  );
  assert.ok(policy.Statement.every(({ Effect }) => Effect === 'Allow'));
  const actions = policy.Statement.flatMap(({ Action }) => Action);
  assert.ok(
    actions.every((action) => /^ec2:[A-Za-z]+$/.test(action)),
    'a right for something else, or for everything',
  );
  return [...new Set(actions.map((action) => action.slice('ec2:'.length)))].toSorted();
}

test('the policy names exactly the calls that the source makes', () => {
  const folder = new URL('src/providers/aws/', ROOT);
  const source = readdirSync(folder).map((file) => readFileSync(new URL(file, folder), 'utf8'));
  const commands = source.flatMap((text) =>
    [...text.matchAll(/new sdk\.(\w+)Command\(/g)].map(([, name = '']) => name),
  );
  assert.deepEqual(policyActions(), [...new Set([...commands, ...WITHOUT_A_CALL])].toSorted());
});

test('every call that a server’s life takes is one of the policy', async () => {
  const cloud = await startCloud('aws');
  await using _ = cloud.fake;
  const provider = cloud.provider({ calls: 60_000, perSeconds: 60 });
  const options = { operationId: randomUUID(), guard: () => {} };
  const signal = new AbortController().signal;
  const plans = await provider.listPlans();
  await provider.listZones();
  assert.deepEqual(await provider.validate(cloud.spec()), []);
  const { ref } = await provider.ensureServer(cloud.spec({ tags: ['env=prod'] }), options);
  await untilObserved(provider, ref, (server) => server?.status === 'running', signal);
  await provider.restartServer(ref, options);
  await provider.stopServer(ref, options);
  await untilObserved(provider, ref, (server) => server?.status === 'stopped', signal);
  assert.ok(provider.resizeServer !== undefined && provider.labelServer !== undefined);
  const plan = plans.find(({ name }) => name !== cloud.spec().plan)?.name ?? '';
  await provider.resizeServer(ref, { plan, zone: cloud.spec().zone }, options);
  await provider.labelServer(
    ref,
    { operationId: options.operationId, workspace: cloud.spec().workspace, tags: [] },
    options,
  );
  await provider.startServer(ref, options);
  await untilObserved(provider, ref, (server) => server?.status === 'running', signal);
  await provider.deleteServer(ref, options);
  await provider.close?.();
  const asked = new Set(cloud.fake.calls.map(({ line }) => /Action=(\w+)/.exec(line)?.[1] ?? line));
  // The other way round as well: a right that nothing uses is one too many.
  assert.deepEqual([...new Set([...asked, ...WITHOUT_A_CALL])].toSorted(), policyActions());
});

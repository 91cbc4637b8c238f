/**
 * What a user writes is evaluated apart from everybody else's requests, within one budget a request or run: past it 400
 * TOO_COSTLY with the place. While it goes on the server answers others.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type ErrorBody, expectError, expectOk, startInstallation } from '../support/acceptance.ts';
import { COSTLY, doubled, step, text, withParameter } from '../support/costly.ts';
import { type Answer, ended, type Operation, type TestServer, until } from '../support/server.ts';

const installation = await startInstallation();
after(() => installation.close());
const { server, database } = installation;
const { admin, anonymous } = server;

/** How often others are answered before the promise settles. */
async function answeredMeanwhile<T>(work: Promise<T>): Promise<{ answer: T; others: number }> {
  let settled = false;
  const done = work.finally(() => {
    settled = true;
  });
  let others = 0;
  while (!settled) {
    expectOk(await anonymous.request('GET', '/health/live'));
    if (!settled) others += 1;
    await sleep(10);
  }
  return { answer: await done, others };
}

const validate = (body: object): Promise<Answer> =>
  admin.request('POST', '/v1/workflows/validate', { workspace: 'default', ...body });

function placeOf(error: ErrorBody): string {
  const [{ field } = { field: '' }] = error.details as { field: string }[];
  return field;
}

for (const [name, body] of Object.entries(COSTLY)) {
  test(`refused with its place, and others are answered meanwhile: ${name}`, async () => {
    const { answer, others } = await answeredMeanwhile(validate(body));
    const error = expectError(answer, 400, 'TOO_COSTLY');
    assert.match(placeOf(error), /^(operations\[0\]|parameters|the pattern )/, error.message);
    assert.ok(others > 0, 'somebody was answered');
  });
}

test('nodes are counted before they are made, those of nested workflows as well', async () => {
  const operations = Array.from({ length: 300 }, (_, n) => ({
    id: `s${n}`,
    kind: 'approval',
    for_each: text('range(`9999`)'),
  }));
  const { answer, others } = await answeredMeanwhile(validate({ definition: JSON.stringify({ operations }) }));
  assert.match(expectError(answer, 400).message, /makes too many nodes: .* more than 20000/);
  assert.ok(others > 0);
});

test('a long text is searched for a long one in one pass', async () => {
  // The built-in search would take five minutes for this one, and nothing could interrupt it.
  const half = "join('', map(&'aaaaaaaaaa', range(`25000`)))";
  const when = `let $h = ${half} in let $s = join('', [$h, $h, $h, $h]) in contains($s, join('', [$h, 'b', $h]))`;
  const graph = expectOk(await validate({ definition: step({ when: text(when) }) })) as {
    nodes: { skipped: boolean }[];
  };
  assert.deepEqual(
    graph.nodes.map(({ skipped }) => skipped),
    [true],
  );
});

test('a schema with keywords that reach beyond their place is refused, not failed', async () => {
  for (const schema of [{ $ref: '#' }, { $async: true }, { $id: 'x' }, { items: { $dynamicRef: '#a' } }]) {
    const { message } = expectError(await validate({ definition: withParameter(schema) }), 400);
    assert.match(message, /is not supported/);
  }
});

test('a time that never comes is looked for while others are answered', async () => {
  const schedule = {
    ...{ workspace: 'default', name: 'never', workflow_type: 'batch', timezone: 'America/St_Johns' },
    ...{ parameters: { operations: [{ id: 'a', kind: 'approval' }] } },
    cron: '* * * 8-31 * +MON#1,TUE#1,WED#1,THU#1,FRI#1,SAT#1,SUN#1',
  };
  const { answer, others } = await answeredMeanwhile(admin.request('POST', '/v1/schedules', schedule));
  assert.match(expectError(answer, 400).message, /never matches/);
  assert.ok(others > 2, `${others} were answered`);
});

test('a text nested without end is a refusal', async () => {
  const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
  expectError(await validate({ definition: `operations: ${deep}` }), 400);
  expectError(await validate({ definition: `${'- '.repeat(50_000)}x` }), 400);
});

/** A run whose second node would take for ever once the first has ended. */
const HOSTILE = {
  workspace: 'default',
  workflow_type: 'batch',
  parameters: {
    operations: [
      { id: 'first', kind: 'wait', with: { seconds: 1 } },
      {
        id: 'second',
        kind: 'approval',
        with: { message: `x ${text(`json(${doubled(8, 'operations.first.status')})`)}` },
      },
    ],
  },
};
const submit = async (on: TestServer) =>
  expectOk(await on.admin.request<Operation>('POST', '/v1/workflows/submit', HOSTILE)).id;

test('a run that asks for too much fails alone, with the place', async () => {
  const { answer, others } = await answeredMeanwhile(submit(server).then((id) => ended(admin, id, 120)));
  assert.equal(answer.status, 'failed');
  assert.equal((answer as Operation & { error_code: string }).error_code, 'TOO_COSTLY');
  assert.match(answer.error ?? '', /second failed: second\.with\.message takes too much work/);
  assert.ok(others > 0);
});

test('a run in which three processes have ended is given up, and the installation lives', async () => {
  const id = await submit(server);
  const pool = new pg.Pool({ connectionString: database.url, max: 1 });
  try {
    await until(
      async () =>
        (
          await pool.query(`select from provisioning.workflow_nodes where workflow_id = $1 and status = 'running'`, [
            id,
          ])
        ).rowCount === 1,
      'the run to have begun',
    );
    await server.kill();
    // As often as two further processes would have left it.
    await pool.query('update provisioning.workflows set unfinished_starts = 2 where id = $1', [id]);
  } finally {
    await pool.end();
  }
  const next = await installation.replica();
  const operation = await ended(next.admin, id, 120);
  assert.equal((operation as Operation & { error_code: string }).error_code, 'RUN_ABANDONED', operation.error ?? '');
  assert.match(operation.error ?? '', /ended 3 times while it evaluated/);
  expectOk(await next.anonymous.request('GET', '/health/ready'));
  assert.equal(await next.stop(), 0);
});

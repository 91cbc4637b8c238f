/** Lists of any length: printed as they come, in memory that does not grow with them. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { startInstallation } from '../support/acceptance.ts';
import { ADMIN_PASSWORD } from '../support/server.ts';
import { createCommandLine } from './support.ts';

const FULL = process.env.PROVISIONING_TEST_SCALE === 'full';
const OPERATIONS = FULL ? 1_000_000 : 20_000;
const SERVERS = FULL ? 100_000 : 10_000;
/** A list may hold some pages of rows more than a short one does; all its rows it may not. MiB. */
const MAY_GROW_BY = 60;

const installation = await startInstallation();
const { server, database } = installation;
const cli = await createCommandLine();
after(async () => {
  await cli[Symbol.asyncDispose]();
  await installation.close();
});
await cli.run(['login', server.url, '--password-stdin'], { input: ADMIN_PASSWORD });

/** Lines that the command prints, and the most memory it took. MiB. */
async function measured(args: string[]): Promise<{ lines: number; memory: number }> {
  const child = cli.start(args);
  child.stdin.end();
  let lines = 0;
  let memory = 0;
  for await (const _ of createInterface({ input: child.stdout })) {
    lines += 1;
    if (lines % 5_000 === 1) {
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
      memory = Math.max(memory, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024);
    }
  }
  return { lines, memory };
}

test('100,000 servers and 1,000,000 operations are listed in flat memory (fewer unless at full scale)', async (t) => {
  const template = `select gen_random_uuid(), 'server.stop', 'default', 'failed', '{}', 'admin'`;
  await database.pool.query(
    `insert into provisioning.operations (id, kind, workspace, status, input, created_by) ${template}
     from generate_series(1, $1)`,
    [OPERATIONS],
  );
  await database.pool.query(
    `insert into provisioning.servers (id, workspace, hostname, provider, plan, zone, status, created_by, operation_id)
     select 'srv-' || lpad(n::text, 12, '0'), 'default', 'host-' || n, 'simulated', '2xCPU-4GB', 'de-fra1', 'running', 'admin',
       (select id from provisioning.operations limit 1)
     from generate_series(1, $1) n`,
    [SERVERS],
  );
  await database.pool.query('analyze provisioning.operations, provisioning.servers');
  const short = await measured(['operation', 'list', '--limit', '500']);
  for (const [args, rows] of [
    [['operation', 'list', '--limit', '0', '-o', 'name'], OPERATIONS],
    [['operation', 'list', '--limit', '0'], OPERATIONS + 1],
    [['server', 'list', '--limit', '0'], SERVERS + 1],
  ] as const) {
    const begin = Date.now();
    const long = await measured([...args]);
    t.diagnostic(
      `${args.join(' ')}: ${long.lines} lines in ${((Date.now() - begin) / 1_000).toFixed(1)} s, ${long.memory.toFixed(0)} MiB (500 rows: ${short.memory.toFixed(0)} MiB)`,
    );
    assert.equal(long.lines, rows);
    assert.ok(long.memory < short.memory + MAY_GROW_BY, `${long.memory} MiB against ${short.memory} MiB`);
  }
});

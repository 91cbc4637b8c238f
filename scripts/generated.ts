/**
 * Writes what is generated from the running server: openapi/openapi.json (from the routes' schemas) and
 * migrations/schema.sql (what the migrations make). `--check` only compares, and fails on a difference.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { sql } from 'kysely';
import { loadConfig } from '../src/config.ts';
import { startEmbeddedPostgres } from '../src/database/embedded.ts';
import { createDatabase, createPool, type Database } from '../src/database/pool.ts';
import { createLogger, startServer } from '../src/server.ts';

const OPENAPI = new URL('../openapi/openapi.json', import.meta.url);
const SCHEMA = new URL('../migrations/schema.sql', import.meta.url);

async function generate(): Promise<Map<URL, string>> {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'provisioning-generate-'));
  const postgres = await startEmbeddedPostgres({ dataDir, log: () => {} });
  try {
    const { host, port, user, password, database } = postgres.connection;
    const url = `postgres://${user}:${password}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`;
    const config = loadConfig({
      DATABASE_URL: url,
      DATA_DIR: dataDir,
      PORT: '0',
      LOG_LEVEL: 'error',
      LOG_FORMAT: 'json',
      PROVIDERS: 'simulated',
    });
    const server = await startServer(config, createLogger(config));
    const openapi = await (await fetch(`${server.address}/openapi.json`)).json();
    const db = createDatabase(createPool(postgres.connection, { max: 1, applicationName: 'generate' }));
    const schema = await dumpSchema(db);
    await db.destroy();
    await server.close();
    return new Map([
      [OPENAPI, `${JSON.stringify(openapi, null, 2)}\n`],
      [SCHEMA, schema],
    ]);
  } finally {
    await postgres.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** Tables, constraints, indexes and functions of our schemas, in a stable order, for review. */
async function dumpSchema(db: Database): Promise<string> {
  const { rows: tables } = await sql<{
    name: string;
    columns: string;
    constraints: string | null;
    indexes: string | null;
  }>`
    select format('%I.%I', n.nspname, c.relname) as name,
      (select string_agg(format('  %I %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                case when a.attnotnull then ' not null' else '' end,
                coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')), E',\n' order by a.attnum)
       from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
      (select string_agg(format('  constraint %I %s', conname, pg_get_constraintdef(oid)), E',\n' order by conname)
       from pg_constraint where conrelid = c.oid and contype <> 'n') as constraints,
      (select string_agg(pg_get_indexdef(i.indexrelid) || ';', E'\n' order by i.indexrelid::regclass::text)
       from pg_index i where i.indrelid = c.oid
         and not exists (select from pg_constraint k where k.conindid = i.indexrelid)) as indexes
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and n.nspname in ('provisioning', 'simulated_cloud') and c.relname not like 'migrations%'
    order by 1`.execute(db);
  const { rows: functions } = await sql<{ definition: string }>`
    select pg_get_functiondef(p.oid) as definition from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'provisioning' order by p.proname`.execute(db);
  const { rows: triggers } = await sql<{ definition: string }>`
    select pg_get_triggerdef(t.oid) as definition from pg_trigger t join pg_class c on c.oid = t.tgrelid
    join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'provisioning' and not t.tgisinternal order by t.tgname`.execute(
    db,
  );
  const parts = tables.map(
    ({ name, columns, constraints, indexes }) =>
      `create table ${name} (\n${columns}${constraints === null ? '' : `,\n${constraints}`}\n);\n${indexes === null ? '' : `${indexes}\n`}`,
  );
  const code = [...functions, ...triggers].map(({ definition }) => `${definition.trimEnd()};\n`);
  return `-- What the migrations make, for review. Written by "npm run generate".\n\n${[...parts, ...code].join('\n')}`;
}

const check = process.argv.includes('--check');
const stale: string[] = [];
for (const [file, text] of await generate()) {
  const current = await readFile(file, 'utf8').catch(() => '');
  if (current === text) continue;
  stale.push(path.basename(file.pathname));
  if (!check) await writeFile(file, text);
}
if (stale.length > 0) {
  process.stdout.write(
    check ? `Out of date: ${stale.join(', ')}. Run "npm run generate" and commit.\n` : `Written: ${stale.join(', ')}\n`,
  );
  if (check) process.exitCode = 1;
}

/** What is in a database: tables, sequences, and how they are copied out of one and into another. */
import { once } from 'node:events';
import type pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { BackupError } from './errors.ts';

/** The application's, the engine's and the simulated cloud's. */
export const SCHEMAS = ['provisioning', 'dbos', 'simulated_cloud'];
/** What migrations and living replicas write themselves. */
const LEFT_OUT = [
  'provisioning.migrations',
  'provisioning.migrations_lock',
  'provisioning.paces',
  'provisioning.replicas',
  'provisioning.shared_counts',
  'dbos.dbos_migrations',
];
/** Bytes of rows gathered before they are passed on. */
const GATHER_BYTES = 256 * 1024;

/** Transaction ids mean nothing in another database. Behind `2` lies what webhooks have not been told yet. */
const TOLD = '1';
const UNTOLD = '2';
const TRANSLATED: Record<string, Record<string, string>> = {
  'provisioning.operation_events': {
    xid: `case when (xid, operation_id, seq) > (select c.xid, c.operation_id, c.seq from provisioning.webhook_cursor c)
      then '${UNTOLD}'::xid8 else '${TOLD}'::xid8 end`,
  },
  'provisioning.webhook_cursor': {
    xid: `'${UNTOLD}'::xid8`,
    operation_id: `'00000000-0000-0000-0000-000000000000'::uuid`,
    seq: '0',
  },
  'provisioning.webhooks': { born: `'${UNTOLD}:${UNTOLD}:'::pg_snapshot` },
};
const TIED_TO_THE_DATABASE = ['xid', 'xid8', 'pg_snapshot', 'txid_snapshot', 'pg_lsn', 'oid', 'regclass'];

/** A table with the columns that hold something of their own, and how each is read. */
export interface Table {
  schema: string;
  table: string;
  columns: string[];
}

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
const nameOf = ({ schema, table }: Table) => `${schema}.${table}`;

/**
 * All tables with something of their own in them, those that are referred to before those that refer.
 * @throws BackupError where one has a column that would mean nothing elsewhere.
 */
export async function listTables(client: pg.Client): Promise<Table[]> {
  const { rows } = await client.query<Table & { types: string[]; needs: string[] }>(
    `select n.nspname as schema, c.relname as table,
            array_agg(a.attname::text order by a.attnum) as columns,
            array_agg(a.atttypid::regtype::text order by a.attnum) as types,
            (select coalesce(array_agg(distinct fn.nspname || '.' || fc.relname), '{}')
             from pg_constraint f join pg_class fc on fc.oid = f.confrelid join pg_namespace fn on fn.oid = fc.relnamespace
             where f.conrelid = c.oid and f.contype = 'f' and f.confrelid <> c.oid) as needs
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
       join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
     where n.nspname = any($1) and c.relkind in ('r', 'p') and not c.relispartition
       and n.nspname || '.' || c.relname <> all($2)
     group by 1, 2, c.oid order by 1, 2`,
    [SCHEMAS, LEFT_OUT],
  );
  for (const row of rows) {
    const at = row.types.findIndex((type) => TIED_TO_THE_DATABASE.includes(type));
    const tied = row.columns[at];
    if (tied !== undefined && TRANSLATED[nameOf(row)]?.[tied] === undefined) {
      throw new BackupError(`This version does not know how to take ${nameOf(row)}.${tied} elsewhere.`);
    }
  }
  return inOrder(rows).map(({ schema, table, columns }) => ({ schema, table, columns }));
}

function inOrder<T extends Table & { needs: string[] }>(tables: T[]): T[] {
  const ordered: T[] = [];
  let left = tables;
  while (left.length > 0) {
    const names = new Set(left.map(nameOf));
    const free = left.filter(({ needs }) => !needs.some((need) => names.has(need)));
    if (free.length === 0)
      throw new BackupError(`These tables refer to one another in a ring: ${[...names].join(', ')}.`);
    ordered.push(...free);
    left = left.filter((table) => !free.includes(table));
  }
  return ordered;
}

/** The rows of a table as Postgres' COPY writes them (text). */
export async function* readRows(client: pg.Client, table: Table): AsyncGenerator<Buffer> {
  const translated = TRANSLATED[nameOf(table)] ?? {};
  const columns = table.columns.map((column) =>
    translated[column] === undefined ? quoted(column) : `${translated[column]} as ${quoted(column)}`,
  );
  const place = `${quoted(table.schema)}.${quoted(table.table)}`;
  const stream = client.query(copyTo(`copy (select ${columns.join(', ')} from ${place}) to stdout`));
  let gathered: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    gathered.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size < GATHER_BYTES) continue;
    yield Buffer.concat(gathered);
    gathered = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(gathered);
}

/** Where the rows of one table go to. */
export interface RowsWriter {
  write(bytes: Buffer): Promise<void>;
  /** Resolves when the rows are stored. */
  end(): Promise<void>;
}

/** @throws BackupError where the table here lacks a column. */
export async function writeRows(client: pg.Client, table: Table, known: readonly Table[]): Promise<RowsWriter> {
  const here = known.find((one) => nameOf(one) === nameOf(table));
  const missing = table.columns.filter((column) => here?.columns.includes(column) !== true);
  if (missing.length > 0) {
    throw new BackupError(
      `The backup holds ${missing.map((column) => `${nameOf(table)}.${column}`).join(', ')}, which this version does not have. Restore it with the version that made it, then upgrade.`,
    );
  }
  const columns = table.columns.map(quoted).join(', ');
  const stream = client.query(copyFrom(`copy ${quoted(table.schema)}.${quoted(table.table)} (${columns}) from stdin`));
  const failed = once(stream, 'error').then(([error]) => {
    throw error;
  });
  // Heard below; it must not count as unheard before that.
  failed.catch(() => 'thrown where the rows are written');
  return {
    async write(bytes) {
      if (!stream.write(bytes)) await Promise.race([once(stream, 'drain'), failed]);
    },
    async end() {
      const finished = once(stream, 'finish');
      stream.end();
      await Promise.race([finished, failed]);
    },
  };
}

/** What every sequence gave out last; one that has given out nothing is left out. */
export async function listSequences(client: pg.Client): Promise<{ schema: string; name: string; value: string }[]> {
  const { rows } = await client.query<{ schema: string; name: string; value: string }>(
    `select schemaname as schema, sequencename as name, last_value::text as value from pg_sequences
     where schemaname = any($1) and last_value is not null order by 1, 2`,
    [SCHEMAS],
  );
  return rows;
}

export async function setSequence(
  client: pg.Client,
  { schema, name, value }: { schema: string; name: string; value: string },
): Promise<void> {
  await client.query('select setval($1::regclass, $2::bigint)', [`${quoted(schema)}.${quoted(name)}`, value]);
}

/** Takes out what migrations have put in. */
export async function emptyTables(client: pg.Client, tables: readonly Table[]): Promise<void> {
  const names = tables.map(({ schema, table }) => `${quoted(schema)}.${quoted(table)}`);
  await client.query(`truncate ${names.join(', ')}`);
}

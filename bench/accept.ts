import { randomBytes, randomUUID } from 'node:crypto';
import pg from 'pg';
import { serverRequest } from '../test/support/server.ts';
import { load, requestBytes } from './support/http.ts';
import { type DatabasePlace, startInstallation } from './support/installation.ts';
import { processorSeconds } from './support/kernel.ts';
import { alternate, type Benchmark, compare, plain } from './support/stats.ts';

const CONNECTIONS = 16;
const COUNT = 2_000;
const ROUNDS = 7;

/** The rows that one accepted create leaves, by table and the column that ties each to its operation. */
const TABLES = [
  ['provisioning.servers', 'operation_id'],
  ['provisioning.operations', 'id'],
  ['dbos.workflow_status', 'workflow_uuid'],
  ['dbos.workflow_input', 'workflow_uuid'],
  ['provisioning.audit_log', 'operation_id'],
] as const;

export const accept: Benchmark = {
  name: 'accept',
  about: 'POST /v1/servers/create, against a loop that inserts the same rows with pg, a transaction each',
  async run() {
    // Only what accepts: carrying out is another benchmark.
    await using installation = await startInstallation({ ROLE: 'api' });
    const { server, place, pool } = installation;
    const create = (hostname: string) =>
      requestBytes('POST', '/v1/servers/create', server.admin.token, serverRequest(hostname));
    const run = randomBytes(4).toString('hex');
    let n = 0;
    const pid = server.process.pid ?? 0;
    const processor: number[] = [];
    const ours = async () => {
      const first = n;
      n += COUNT;
      const before = await processorSeconds(pid);
      const seconds = await load({
        url: server.url,
        connections: CONNECTIONS,
        count: COUNT,
        request: (index) => create(`ours-${run}-${first + index}`),
      });
      processor.push(((await processorSeconds(pid)) - before) * (1_000_000 / COUNT));
      return COUNT / seconds;
    };
    await load({ url: server.url, connections: 1, count: 1, request: () => create(`template-${run}`) });
    const statements = await insertsLike(pool, `template-${run}`);
    const floor = async () => COUNT / (await insertLoop(place, statements));
    return [
      compare('creates accepted', await alternate(ROUNDS, ours, floor), '/s', { atLeast: 0.6 }),
      plain('processor time of the server, each', processor.slice(1), 'µs'),
    ];
  },
};

interface Insert {
  name: string;
  text: string;
  /** Text of each parameter; what must be new in each row stands in it as in the template. */
  values: (string | null)[];
}

interface Template {
  inserts: Insert[];
  /** What must be new in each row. */
  ids: { operation: string; server: string; hostname: string; audit: string };
}

/** Statements that insert the very rows which the server inserted for this hostname. */
async function insertsLike(pool: pg.Pool, hostname: string): Promise<Template> {
  const { rows } = await pool.query(
    `select o.id as operation, s.id as server, s.hostname, a.id as audit
     from provisioning.servers s join provisioning.operations o on o.id = s.operation_id
     join provisioning.audit_log a on a.operation_id = o.id where s.hostname = $1`,
    [hostname],
  );
  const ids: Template['ids'] = rows[0];
  const inserts: Insert[] = [];
  for (const [table, key] of TABLES) {
    const [schema = '', name = ''] = table.split('.');
    const found = await pool.query<{ column_name: string }>(
      `select column_name from information_schema.columns
       where table_schema = $1 and table_name = $2 and is_generated = 'NEVER' order by ordinal_position`,
      [schema, name],
    );
    const columns = found.rows.map((row) => `"${row.column_name}"`);
    const texts = columns.map((column) => `${column}::text`).join(', ');
    const row = await pool.query({
      text: `select ${texts} from ${table} where ${key}::text = $1`,
      values: [ids.operation],
      rowMode: 'array',
    });
    inserts.push({
      name,
      text: `insert into ${table} (${columns.join(', ')}) values (${columns.map((_, index) => `$${index + 1}`).join(', ')})`,
      values: row.rows[0] ?? [],
    });
  }
  return { inserts, ids };
}

/** Inserts as many as the server accepts, over as many connections, prepared. @returns seconds. */
async function insertLoop(place: DatabasePlace, { inserts, ids }: Template): Promise<number> {
  const clients = Array.from({ length: CONNECTIONS }, () => new pg.Client(place));
  await Promise.all(clients.map((client) => client.connect()));
  let left = COUNT;
  const begun = performance.now();
  await Promise.all(
    clients.map(async (client) => {
      while (left-- > 0) {
        const fresh = new Map([
          [ids.operation, randomUUID()],
          [ids.audit, randomUUID()],
          [ids.server, `srv-${randomUUID()}`],
          [ids.hostname, `floor-${randomUUID()}`],
          [`server:${ids.server}`, `server:${randomUUID()}`],
        ]);
        await client.query('begin');
        for (const { name, text, values } of inserts)
          await client.query({ name, text, values: values.map((value) => fresh.get(value ?? '') ?? value) });
        await client.query('commit');
      }
    }),
  );
  const seconds = (performance.now() - begun) / 1_000;
  await Promise.all(clients.map((client) => client.end()));
  return seconds;
}

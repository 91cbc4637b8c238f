import Fastify from 'fastify';
import { Kysely, PostgresDialect } from 'kysely';
import type pg from 'pg';
import type { Tables } from '../src/database/tables.ts';
import { sendList } from '../src/http/list.ts';
import { readOperation } from '../src/operations/store.ts';
import { SERVER_LIST } from '../src/servers/schemas.ts';
import { ended, type Operation, serverRequest } from '../test/support/server.ts';
import { startBare } from './support/bare.ts';
import { load, requestBytes } from './support/http.ts';
import { startInstallation } from './support/installation.ts';
import { processorSeconds } from './support/kernel.ts';
import { insertServers } from './support/rows.ts';
import { alternate, type Benchmark, compare, type Line } from './support/stats.ts';

const CONNECTIONS = 16;
const ROUNDS = 7;
const OPERATIONS_READ = 6_000;
const PAGES_READ = 1_500;

export const reads: Benchmark = {
  name: 'reads',
  about: 'two GET requests, against bare Fastify routes that run the same SQL without authentication',
  async run() {
    await using installation = await startInstallation();
    const { server, pool, url } = installation;
    const { body } = await server.admin.request<Operation>('POST', '/v1/servers/create', serverRequest('one'));
    const { id } = await ended(server.admin, body.id);
    await insertServers(pool, 1_000);
    await using bare = await startBare(url, [
      {
        path: '/operation',
        column: 'json',
        around: ['', ''],
        statements: await statementsOf(pool, (db) => readOperation(db, id)),
      },
      {
        path: '/page',
        column: 'text',
        around: ['[', ']'],
        statements: await statementsOf(pool, (db) => listPage(db)),
      },
    ]);
    const page = '/v1/servers?per_page=100';
    return [
      ...(await measure('GET /v1/operations/{id}', OPERATIONS_READ, 0.7, [
        { url: `${server.url}/v1/operations/${id}`, pid: server.process.pid ?? 0, token: server.admin.token },
        { url: `${bare.url}/operation`, pid: bare.process.pid ?? 0, token: '' },
      ])),
      ...(await measure('a page of 100 servers', PAGES_READ, 0.6, [
        { url: `${server.url}${page}`, pid: server.process.pid ?? 0, token: server.admin.token },
        { url: `${bare.url}/page`, pid: bare.process.pid ?? 0, token: '' },
      ])),
    ];
  },
};

interface Target {
  url: string;
  pid: number;
  token: string;
}

/**
 * How many a second, and how much processor time of the answering process each one takes: the latter is nearly
 * untouched by whatever else the machine does.
 */
async function measure(what: string, count: number, atLeast: number, [ours, floor]: [Target, Target]): Promise<Line[]> {
  const spent = { ours: [] as number[], floor: [] as number[] };
  const rate = ({ url, pid, token }: Target, figures: number[]) => {
    const request = requestBytes('GET', new URL(url).pathname + new URL(url).search, token);
    return async () => {
      const before = await processorSeconds(pid);
      const seconds = await load({ url, connections: CONNECTIONS, count, request: () => request });
      figures.push(((await processorSeconds(pid)) - before) * (1_000_000 / count));
      return count / seconds;
    };
  };
  const pairs = await alternate(ROUNDS, rate(ours, spent.ours), rate(floor, spent.floor));
  // The first round warmed up.
  const processor = spent.ours.slice(1).map((value, n) => ({ ours: value, floor: spent.floor[n + 1] ?? Number.NaN }));
  return [compare(what, pairs, '/s', { atLeast }), compare('its processor time in the process', processor, 'µs', null)];
}

/** The statements that the server's own code sends. */
async function statementsOf(pool: pg.Pool, read: (db: Kysely<Tables>) => Promise<unknown>) {
  const statements: { text: string; values: readonly unknown[] }[] = [];
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool }),
    log: ({ query }) => {
      statements.push({ text: query.sql, values: query.parameters });
    },
  });
  await read(db);
  return statements;
}

async function listPage(db: Kysely<Tables>): Promise<void> {
  const app = Fastify();
  app.get('/', (request, reply) => {
    request.query = { per_page: 100 };
    return sendList(db, SERVER_LIST, request, reply, []);
  });
  const { statusCode, body } = await app.inject('/');
  if (statusCode !== 200) throw new Error(body);
  await app.close();
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import Fastify from 'fastify';
import { Kysely, PostgresDialect } from 'kysely';
import type pg from 'pg';
import type { Tables } from '../src/database/tables.ts';
import { sendList } from '../src/http/list.ts';
import { readOperation } from '../src/operations/store.ts';
import { SERVER_LIST } from '../src/servers/schemas.ts';
import { ended, type Operation, serverRequest } from '../test/support/server.ts';
import { load, requestBytes } from './support/http.ts';
import { startInstallation } from './support/installation.ts';
import { insertServers } from './support/rows.ts';
import { alternate, type Benchmark, compare } from './support/stats.ts';

const CONNECTIONS = 16;
const ROUNDS = 7;
const OPERATIONS_READ = 6_000;
const PAGES_READ = 1_500;
const BARE = fileURLToPath(new URL('./bare-routes.ts', import.meta.url));

export const reads: Benchmark = {
  name: 'reads',
  about: 'two GET requests, against bare Fastify routes that run the same SQL without authentication',
  async run() {
    await using installation = await startInstallation();
    const { server, pool, url } = installation;
    const { body } = await server.admin.request<Operation>('POST', '/v1/servers/create', serverRequest('one'));
    const { id } = await ended(server.admin, body.id);
    await insertServers(pool, 1_000);
    const bare = await startBare(url, [
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
    try {
      const rate = (base: string, path: string, count: number) => {
        const request = requestBytes('GET', path, server.admin.token);
        return async () => count / (await load({ url: base, connections: CONNECTIONS, count, request: () => request }));
      };
      const operation = await alternate(
        ROUNDS,
        rate(server.url, `/v1/operations/${id}`, OPERATIONS_READ),
        rate(bare.url, '/operation', OPERATIONS_READ),
      );
      const page = await alternate(
        ROUNDS,
        rate(server.url, '/v1/servers?per_page=100', PAGES_READ),
        rate(bare.url, '/page', PAGES_READ),
      );
      return [
        compare('GET /v1/operations/{id}', operation, '/s', { atLeast: 0.6 }),
        compare('a page of 100 servers', page, '/s', { atLeast: 0.6 }),
      ];
    } finally {
      await bare.stop();
    }
  },
};

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

async function startBare(url: string, routes: object[]): Promise<{ url: string; stop(): Promise<void> }> {
  const child = spawn(process.execPath, [BARE, url], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify(routes));
  const [address] = await once(child.stdout, 'data');
  return {
    url: String(address).trim(),
    async stop() {
      const exited = once(child, 'exit');
      child.kill();
      await exited;
    },
  };
}

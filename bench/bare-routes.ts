/**
 * The floor of `bench reads`, a process of its own: Fastify with one route for each line of standard input, which runs
 * statements as they are given and sends the text of the first. No authentication, no checks, no headers.
 * Prints the port. Input: `{"path": "/…", "statements": [{"text": "…", "values": […]}]}` a line, then its end.
 */
import { text } from 'node:stream/consumers';
import Fastify from 'fastify';
import pg from 'pg';

interface Route {
  path: string;
  /** The column of the first statement's row to send, and what stands around it. */
  column: string;
  around: [string, string];
  statements: { text: string; values: unknown[] }[];
}

const [url = ''] = process.argv.slice(2);
/** As many connections as the server gives its requests. */
const pool = new pg.Pool({ connectionString: url, max: 20 });
const app = Fastify();
const routes = JSON.parse(await text(process.stdin)) as Route[];
for (const { path, column, around, statements } of routes) {
  const prepared = statements.map((statement, n) => ({ name: `${path} ${n}`, ...statement }));
  app.get(path, async (_request, reply) => {
    const results = await Promise.all(prepared.map((statement) => pool.query(statement)));
    return reply.type('application/json; charset=utf-8').send(`${around[0]}${results[0]?.rows[0][column]}${around[1]}`);
  });
}
const address = await app.listen({ host: '127.0.0.1', port: 0 });
process.stdout.write(`${address}\n`);

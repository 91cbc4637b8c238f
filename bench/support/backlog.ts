import { randomBytes } from 'node:crypto';
import { serverRequest, until } from '../../test/support/server.ts';
import { load, requestBytes } from './http.ts';
import type { Installation } from './installation.ts';

const TIMEOUT_MS = 600_000;
const CONNECTIONS = 16;

/** Accepts so many creates, on tables that are as empty as in each round before, where nobody carries anything out yet. */
export async function acceptCreates({ server, pool }: Installation, count: number): Promise<void> {
  await pool.query('truncate dbos.workflow_status, provisioning.operations, provisioning.servers cascade');
  await pool.query('truncate simulated_cloud.servers, simulated_cloud.calls');
  const name = randomBytes(4).toString('hex');
  await load({
    url: server.url,
    connections: CONNECTIONS,
    count,
    request: (n) => requestBytes('POST', '/v1/servers/create', server.admin.token, serverRequest(`${name}-${n}`)),
  });
}

export async function untilCarriedOut({ pool }: Installation): Promise<void> {
  const left = `select count(*)::int as left from dbos.workflow_status where status <> 'SUCCESS'`;
  await until(async () => (await pool.query(left)).rows[0].left === 0, 'the operations', TIMEOUT_MS, 200);
}

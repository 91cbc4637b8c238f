/** Fills the tables by SQL, as if much had happened. */
import type pg from 'pg';

/** Whether a kept installation has them already. */
async function has(pool: pg.Pool, table: string, count: number): Promise<boolean> {
  const { rows } = await pool.query<{ count: number }>(`select count(*)::int from provisioning.${table}`);
  return (rows[0]?.count ?? 0) >= count;
}

/** Servers that run, named `host-1` to `host-N`. */
export async function insertServers(pool: pg.Pool, count: number): Promise<void> {
  if (await has(pool, 'servers', count)) return;
  await pool.query(
    `insert into provisioning.servers (id, workspace, hostname, provider, plan, zone, ip_address, status, tags,
                                       provider_ref, operation_id, created_by, created_at)
     select 'srv-' || lpad(n::text, 12, '0'), 'default', 'host-' || n, 'simulated', '2xCPU-4GB', 'de-fra1', '10.0.0.1',
            'running', array['web'], 'sim-' || n, gen_random_uuid(), 'admin', now() - make_interval(secs => n)
     from generate_series(1, $1::int) n`,
    [count],
  );
  await pool.query('analyze provisioning.servers');
}

/** Operations that have completed, one a second into the past. */
export async function insertOperations(pool: pg.Pool, count: number): Promise<void> {
  if (await has(pool, 'operations', count)) return;
  await pool.query(
    `insert into provisioning.operations (id, kind, status, workspace, resource, input, result, created_by, progress,
                                          created_at, updated_at, finished_at)
     select gen_random_uuid(), 'server.create', 'completed', 'default', 'server:srv-' || n,
            jsonb_build_object('server_id', 'srv-' || n), jsonb_build_object('server_id', 'srv-' || n, 'hostname', 'host-' || n),
            'admin', 100, at, at, at
     from generate_series(1, $1::int) n, lateral (select now() - make_interval(secs => n) as at) t`,
    [count],
  );
  await pool.query('vacuum analyze provisioning.operations');
}

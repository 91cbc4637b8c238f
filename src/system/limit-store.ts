import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import type { WorkspaceLimits } from '../limits/workspace-room.ts';

/** What a workspace has of what is limited, and its own limits. */
export interface WorkspaceFigures {
  name: string;
  limits: Partial<WorkspaceLimits>;
  servers: number;
  schedules: number;
  webhooks: number;
}

/** @param names of these; null: of all. @param most so many, in the order of their names. */
export async function workspaceFigures(
  db: Queryable,
  names: readonly string[] | null,
  most: number,
): Promise<WorkspaceFigures[]> {
  const { rows } = await sql<WorkspaceFigures>`
    select w.name, w.limits,
           (select count(*) from provisioning.servers s where s.workspace = w.name)::int as servers,
           (select count(*) from provisioning.schedules s where s.workspace = w.name)::int as schedules,
           (select count(*) from provisioning.webhooks h where h.workspace = w.name)::int as webhooks
    from provisioning.workspaces w
    where ${names === null ? null : [...names]}::text[] is null or w.name = any(${names === null ? null : [...names]}::text[])
    order by w.name limit ${most}::int`.execute(db);
  return rows;
}

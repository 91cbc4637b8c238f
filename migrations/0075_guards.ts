import { type Kysely, sql } from 'kysely';

/**
 * Servers and taskservs can be protected from deletion, and expire. `removal_id` is the operation that has begun to
 * delete: from then on protection cannot be set any more. `guards_set_by` is the operation that set protection or expiry
 * last, null where that came with another change. Orphans can be protected as well.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  ...(['servers', 'taskservs', 'orphans'] as const).map(
    (table) => `alter table provisioning.${table}
      add column protected boolean not null default false,
      add column removal_id uuid`,
  ),
  ...(['servers', 'taskservs'] as const).flatMap((table) => [
    `alter table provisioning.${table}
       add column expires_at timestamptz,
       add column expiry_due_at timestamptz,
       add column expiry_warned_at timestamptz,
       add column expiry_refusal text,
       add column guards_set_by uuid`,
    `create index ${table}_expiry_due on provisioning.${table} (expiry_due_at) where expiry_due_at is not null`,
  ]),
];

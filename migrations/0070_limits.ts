import { type Kysely, sql } from 'kysely';

/** What workspaces may hold at most, how large the plans of their servers are, and what replicas count together. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  `alter table provisioning.workspaces add column limits jsonb not null default '{}'`,
  // By workspace: accounts of different workspaces may have different prices.
  `create table provisioning.plan_sizes (
     workspace text not null references provisioning.workspaces (name) on delete cascade,
     provider text not null,
     plan text not null,
     zone text not null,
     cpus double precision not null,
     memory_mb double precision not null,
     monthly_cost double precision,
     seen_at timestamptz not null default now(),
     primary key (workspace, provider, plan, zone)
   )`,
  'alter table provisioning.operations add column event_bytes bigint not null default 0',
  // Lost when Postgres crashes: counting begins anew then.
  `create unlogged table provisioning.shared_counts (
     key text not null,
     process uuid not null,
     count bigint not null,
     expires_at timestamptz not null,
     primary key (key, process)
   )`,
  'create index shared_counts_expires on provisioning.shared_counts (expires_at)',
  `create unlogged table provisioning.paces (
     key text primary key,
     next_at timestamptz not null
   )`,
];

import { type Kysely, sql } from 'kysely';

/** Webhooks: who is told of operations, what they are sent, and how far the feed of events has been turned into that. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  `create table provisioning.webhooks (
    id uuid primary key,
    url text not null,
    events text[] not null,
    -- null: of all workspaces
    workspace text references provisioning.workspaces (name) on delete cascade,
    -- encrypted
    secret text not null,
    -- the one before, encrypted: signs beside the new one for a while
    previous_secret text,
    previous_secret_until timestamptz,
    active boolean not null default true,
    inactive_reason text,
    -- since when nothing has arrived
    failing_since timestamptz,
    -- what had happened when it became active is not told
    born pg_snapshot not null default pg_current_snapshot(),
    -- whose permissions decide what is told
    owner_id uuid not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  )`,
  'create index webhooks_created on provisioning.webhooks (created_at, id)',
  'create index webhooks_active on provisioning.webhooks (id) where active',

  `create table provisioning.webhook_deliveries (
    id uuid primary key,
    webhook_id uuid not null references provisioning.webhooks (id) on delete cascade,
    event text not null,
    -- what it tells of; null: a test
    operation_id uuid,
    seq integer,
    -- what is sent, byte for byte
    payload text not null,
    status text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
    attempts integer not null default 0,
    -- while it is being sent: when others may take it that it never will be
    next_attempt_at timestamptz not null default now(),
    last_attempt_at timestamptz,
    -- names the try that is under way
    claim uuid,
    response_status integer,
    response_excerpt text,
    error text,
    created_at timestamptz not null default now(),
    ended_at timestamptz,
    unique (webhook_id, operation_id, seq)
  ) with (fillfactor = 80)`,
  `create index webhook_deliveries_due on provisioning.webhook_deliveries (webhook_id, next_attempt_at)
    where status = 'pending'`,
  'create index webhook_deliveries_created on provisioning.webhook_deliveries (webhook_id, created_at, id)',
  'create index webhook_deliveries_ended on provisioning.webhook_deliveries (ended_at) where ended_at is not null',

  // The place in the feed of events behind which nothing has been turned into deliveries yet.
  `create table provisioning.webhook_cursor (
    single boolean primary key default true check (single),
    xid xid8 not null,
    operation_id uuid not null,
    seq integer not null
  )`,
  `insert into provisioning.webhook_cursor (xid, operation_id, seq)
    values ('0', '00000000-0000-0000-0000-000000000000', 0)`,
];

import { type Kysely, sql } from 'kysely';

/** Looking after accounts at providers: whose turn it is, what was ours a moment ago, and what stands there unknown. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // One list call looks at everything in an account.
  `create table provisioning.account_sweeps (
    provider text not null,
    -- the workspace whose account it is; empty: the installation's
    account text not null,
    -- nobody else looks before; while somebody does, this is the end of their lease
    due_at timestamptz not null,
    -- when the last list that came whole was asked for
    listed_at timestamptz,
    -- why the last one did not come
    error text,
    primary key (provider, account)
  )`,

  // A list may still show what was ours until a moment ago.
  `create table provisioning.departed_servers (
    provider text not null,
    provider_ref text,
    operation_id uuid not null,
    departed_at timestamptz not null default clock_timestamp()
  )`,
  'create index departed_servers_time on provisioning.departed_servers (departed_at)',
  `create function provisioning.server_departs() returns trigger language plpgsql as $$
  begin
    insert into provisioning.departed_servers (provider, provider_ref, operation_id)
    values (old.provider, old.provider_ref, old.operation_id);
    return null;
  end $$`,
  `create trigger server_departs after delete on provisioning.servers
    for each row execute function provisioning.server_departs()`,
  `create trigger server_departs_by_change after update of provider_ref, operation_id on provisioning.servers
    for each row
    when (old.operation_id <> new.operation_id
          or (old.provider_ref is not null and old.provider_ref is distinct from new.provider_ref))
    execute function provisioning.server_departs()`,

  // A thing at a provider stands for one server: two imports at once must not take it both.
  `create unique index servers_provider_ref_key on provisioning.servers (provider, provider_ref)
    where provider_ref is not null`,
  'create index servers_operation on provisioning.servers (operation_id)',
  "create index servers_drift on provisioning.servers (created_at, id) where drift <> '[]'",

  // Nothing has written there so far.
  'delete from provisioning.orphans',
  `alter table provisioning.orphans
    add column id text not null,
    add column tags text[] not null default '{}',
    -- {currency, hourly, monthly}
    add column price jsonb,
    add constraint orphans_id_key unique (id)`,
  'create index orphans_seen on provisioning.orphans (first_seen_at, id)',

  // What nobody here has made: without our labels, or with those of another installation.
  `alter table simulated_cloud.servers
    alter column operation_id drop not null,
    alter column workspace drop not null,
    add column installation text`,
];

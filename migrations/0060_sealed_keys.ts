import { type Kysely, sql } from 'kysely';

/**
 * The signing key of tokens rests encrypted, and hashes of requests are keyed: the next start brings over what is there.
 * Secrets that users hand in have a place of their own.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  'alter table provisioning.settings add column sealed boolean not null default false',
  // A replica of the version before, which may still run, stores plain hashes.
  'alter table provisioning.idempotency_keys add column request_keyed boolean not null default false',
  // What references in the parameters stand for, encrypted. Null: there are none.
  'alter table provisioning.schedules add column secrets text',
  `create table provisioning.workspace_secrets (
     workspace text not null references provisioning.workspaces (name) on delete cascade,
     key text not null,
     version integer not null,
     value text not null,
     created_at timestamptz not null default now(),
     created_by text not null,
     updated_at timestamptz not null default now(),
     updated_by text not null,
     owner_id uuid not null,
     primary key (workspace, key)
   )`,
  `create or replace view provisioning.name_references as
     select created_by as username, 'server' as what from provisioning.servers
     union all select created_by, 'taskserv' from provisioning.taskservs
     union all select created_by, 'schedule' from provisioning.schedules
     union all select created_by, 'webhook' from provisioning.webhooks
     union all select created_by, 'SSH key' from provisioning.ssh_keys
     union all select updated_by, 'set of credentials' from provisioning.provider_credentials
     union all select decision ->> 'by', 'approval' from provisioning.workflow_nodes where decision is not null
     union all select created_by, 'operation' from provisioning.operations
     union all select cancel_requested_by, 'operation' from provisioning.operations
               where cancel_requested_by is not null
     union all select unnest(array[created_by, updated_by]), 'secret' from provisioning.workspace_secrets`,
];

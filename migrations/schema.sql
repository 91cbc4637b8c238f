-- What the migrations make, for review. Written by "npm run generate".

create table provisioning.account_sweeps (
  provider text not null,
  account text not null,
  due_at timestamp with time zone not null,
  listed_at timestamp with time zone,
  error text,
  holder text,
  constraint account_sweeps_pkey PRIMARY KEY (provider, account)
);

create table provisioning.api_tokens (
  id uuid not null,
  user_id uuid not null,
  name text not null,
  hash bytea not null,
  roles jsonb not null,
  created_at timestamp with time zone not null default now(),
  expires_at timestamp with time zone,
  last_used_at timestamp with time zone,
  revoked_at timestamp with time zone,
  narrowed jsonb,
  created_by_id uuid,
  exchanged_by uuid,
  exchanged_rule text,
  constraint api_tokens_hash_key UNIQUE (hash),
  constraint api_tokens_pkey PRIMARY KEY (id),
  constraint api_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES provisioning.users(id) ON DELETE CASCADE,
  constraint api_tokens_user_id_name_key UNIQUE (user_id, name)
);
CREATE INDEX api_tokens_exchanged ON provisioning.api_tokens USING btree (exchanged_by) WHERE (exchanged_by IS NOT NULL);
CREATE INDEX api_tokens_made_for_others ON provisioning.api_tokens USING btree (created_by_id) WHERE (created_by_id <> user_id);

create table provisioning.audit_checkpoints (
  number bigint not null,
  since bigint not null,
  "position" bigint not null,
  hash bytea not null,
  at timestamp with time zone not null,
  previous bytea,
  mac bytea not null,
  constraint audit_checkpoints_pkey PRIMARY KEY (number),
  constraint audit_checkpoints_position_key UNIQUE ("position")
);

create table provisioning.audit_exports (
  destination text not null,
  "position" bigint not null,
  hash bytea not null,
  exported_at timestamp with time zone not null,
  mac bytea not null,
  constraint audit_exports_pkey PRIMARY KEY (destination)
);

create table provisioning.audit_log (
  id uuid not null,
  at timestamp with time zone not null default clock_timestamp(),
  principal text not null,
  action text not null,
  workspace text,
  resource text,
  outcome text not null,
  address text,
  request_id text,
  operation_id uuid,
  details jsonb,
  "position" bigint,
  hash bytea,
  constraint audit_log_outcome_check CHECK ((outcome = ANY (ARRAY['allowed'::text, 'denied'::text, 'failed'::text]))),
  constraint audit_log_pkey PRIMARY KEY (id),
  constraint audit_log_position_key UNIQUE ("position")
);
CREATE INDEX audit_log_at ON provisioning.audit_log USING btree (at, id);
CREATE INDEX audit_log_principal ON provisioning.audit_log USING btree (principal, at);
CREATE INDEX audit_log_unsealed ON provisioning.audit_log USING btree (at) WHERE ("position" IS NULL);

create table provisioning.audit_retention (
  one boolean not null default true,
  through bigint not null,
  hash bytea not null,
  at timestamp with time zone not null,
  exported_to text not null,
  mac bytea not null,
  constraint audit_retention_one_check CHECK (one),
  constraint audit_retention_pkey PRIMARY KEY (one)
);

create table provisioning.data_keys (
  name text not null,
  sealed text not null,
  master_key_id text not null,
  created_at timestamp with time zone not null default now(),
  constraint data_keys_pkey PRIMARY KEY (name)
);

create table provisioning.departed_servers (
  provider text not null,
  provider_ref text,
  operation_id uuid not null,
  departed_at timestamp with time zone not null default clock_timestamp()
);
CREATE INDEX departed_servers_time ON provisioning.departed_servers USING btree (departed_at);

create table provisioning.departed_users (
  username text not null,
  departed_at timestamp with time zone not null default now(),
  constraint departed_users_pkey PRIMARY KEY (username)
);

create table provisioning.exchange_rules (
  provider_id uuid not null,
  name text not null,
  audience text not null,
  claims jsonb not null,
  account_id uuid not null,
  permissions text[],
  expires_in integer not null,
  created_by_id uuid,
  stopped boolean not null default false,
  constraint exchange_rules_account_id_fkey FOREIGN KEY (account_id) REFERENCES provisioning.users(id) ON DELETE CASCADE,
  constraint exchange_rules_created_by_id_fkey FOREIGN KEY (created_by_id) REFERENCES provisioning.users(id) ON DELETE SET NULL,
  constraint exchange_rules_pkey PRIMARY KEY (provider_id, name),
  constraint exchange_rules_provider_id_fkey FOREIGN KEY (provider_id) REFERENCES provisioning.identity_providers(id) ON DELETE CASCADE
);
CREATE INDEX exchange_rules_account ON provisioning.exchange_rules USING btree (account_id);
CREATE INDEX exchange_rules_created_by ON provisioning.exchange_rules USING btree (created_by_id);

create table provisioning.exchange_uses (
  key bytea not null,
  uses integer not null,
  expires_at timestamp with time zone not null,
  constraint exchange_uses_pkey PRIMARY KEY (key)
);
CREATE INDEX exchange_uses_expires ON provisioning.exchange_uses USING btree (expires_at);

create table provisioning.group_roles (
  provider_id uuid not null,
  group_name text not null,
  role text not null,
  workspace text,
  constraint group_roles_provider_id_fkey FOREIGN KEY (provider_id) REFERENCES provisioning.identity_providers(id) ON DELETE CASCADE,
  constraint group_roles_provider_id_group_name_role_workspace_key UNIQUE NULLS NOT DISTINCT (provider_id, group_name, role, workspace),
  constraint group_roles_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name) ON DELETE CASCADE
);
CREATE INDEX group_roles_workspace ON provisioning.group_roles USING btree (workspace);

create table provisioning.host_turns (
  server_id text not null,
  operation_id uuid not null,
  turn bigint not null,
  constraint host_turns_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES provisioning.operations(id) ON DELETE CASCADE,
  constraint host_turns_pkey PRIMARY KEY (server_id, operation_id),
  constraint host_turns_server_id_fkey FOREIGN KEY (server_id) REFERENCES provisioning.servers(id) ON DELETE CASCADE
);
CREATE INDEX host_turns_operation ON provisioning.host_turns USING btree (operation_id);

create table provisioning.idempotency_keys (
  principal text not null,
  key text not null,
  request_hash bytea not null,
  response_status smallint,
  response_body text,
  response_sealed boolean not null default false,
  response_location text,
  created_at timestamp with time zone not null default now(),
  request_keyed boolean not null default false,
  constraint idempotency_keys_pkey PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_created ON provisioning.idempotency_keys USING btree (created_at);

create table provisioning.identities (
  issuer text not null,
  subject text not null,
  user_id uuid not null,
  groups text[] not null,
  vouched_at timestamp with time zone not null default now(),
  constraint identities_pkey PRIMARY KEY (issuer, subject),
  constraint identities_user_id_fkey FOREIGN KEY (user_id) REFERENCES provisioning.users(id) ON DELETE CASCADE,
  constraint identities_user_id_key UNIQUE (user_id)
);

create table provisioning.identity_providers (
  id uuid not null,
  name text not null,
  title text not null,
  issuer text not null,
  enabled boolean not null default true,
  client_id text,
  client_secret text,
  scopes text[] not null,
  groups_claim text not null,
  username_claim text not null,
  recheck_seconds integer not null,
  roles_hold_seconds integer not null,
  device_login boolean not null,
  required_acr text[] not null,
  required_amr text[] not null,
  version integer not null default 1,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  constraint identity_providers_issuer_key UNIQUE (issuer),
  constraint identity_providers_name_key UNIQUE (name),
  constraint identity_providers_pkey PRIMARY KEY (id)
);

create table provisioning.login_addresses (
  user_id uuid not null,
  address text not null,
  last_login_at timestamp with time zone not null default now(),
  constraint login_addresses_pkey PRIMARY KEY (user_id, address),
  constraint login_addresses_user_id_fkey FOREIGN KEY (user_id) REFERENCES provisioning.users(id) ON DELETE CASCADE
);

create table provisioning.operation_events (
  operation_id uuid not null,
  seq integer not null,
  at timestamp with time zone not null default clock_timestamp(),
  type text not null,
  data jsonb not null,
  xid xid8 not null default pg_current_xact_id(),
  constraint operation_events_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES provisioning.operations(id) ON DELETE CASCADE,
  constraint operation_events_pkey PRIMARY KEY (operation_id, seq),
  constraint operation_events_type_check CHECK ((type = ANY (ARRAY['status'::text, 'progress'::text, 'log'::text])))
);
CREATE INDEX operation_events_feed ON provisioning.operation_events USING btree (xid, operation_id, seq) WHERE (type <> 'log'::text);

create table provisioning.operations (
  id uuid not null,
  kind text not null,
  status text not null default 'pending'::text,
  workspace text not null,
  resource text,
  parent_id uuid,
  input jsonb not null,
  result jsonb,
  error text,
  error_code text,
  progress smallint not null default 0,
  last_seq integer not null default 0,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  finished_at timestamp with time zone,
  cancel_requested_at timestamp with time zone,
  cancel_requested_by text,
  title text,
  check_mode boolean not null default false,
  owner_id uuid,
  event_bytes bigint not null default 0,
  constraint operations_pkey PRIMARY KEY (id),
  constraint operations_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);
CREATE INDEX operations_created ON provisioning.operations USING btree (created_at, id);
CREATE INDEX operations_finished ON provisioning.operations USING btree (finished_at) WHERE (finished_at IS NOT NULL);
CREATE INDEX operations_kind ON provisioning.operations USING btree (kind, created_at, id);
CREATE UNIQUE INDEX operations_one_active ON provisioning.operations USING btree (resource) WHERE ((status = ANY (ARRAY['pending'::text, 'running'::text])) AND (resource IS NOT NULL));
CREATE INDEX operations_parent ON provisioning.operations USING btree (parent_id) WHERE (parent_id IS NOT NULL);
CREATE INDEX operations_resource ON provisioning.operations USING btree (resource, created_at, id) WHERE (resource IS NOT NULL);
CREATE INDEX operations_status ON provisioning.operations USING btree (status, created_at, id);
CREATE INDEX operations_under_way_owner ON provisioning.operations USING btree (owner_id, kind) WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));
CREATE INDEX operations_under_way_workspace ON provisioning.operations USING btree (workspace, kind) WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));
CREATE INDEX operations_workspace ON provisioning.operations USING btree (workspace, created_at, id);

create table provisioning.orphans (
  provider text not null,
  ref text not null,
  account text,
  operation_id text,
  workspace text,
  hostname text not null,
  plan text not null,
  zone text not null,
  status text not null,
  ip_address text,
  first_seen_at timestamp with time zone not null default now(),
  last_seen_at timestamp with time zone not null default now(),
  deletion_id uuid,
  id text not null,
  tags text[] not null default '{}'::text[],
  price jsonb,
  protected boolean not null default false,
  removal_id uuid,
  constraint orphans_id_key UNIQUE (id),
  constraint orphans_pkey PRIMARY KEY (provider, ref)
);
CREATE INDEX orphans_seen ON provisioning.orphans USING btree (first_seen_at, id);

create table provisioning.paces (
  key text not null,
  next_at timestamp with time zone not null,
  constraint paces_pkey PRIMARY KEY (key)
);

create table provisioning.plan_sizes (
  workspace text not null,
  provider text not null,
  plan text not null,
  zone text not null,
  cpus double precision not null,
  memory_mb double precision not null,
  monthly_cost double precision,
  seen_at timestamp with time zone not null default now(),
  constraint plan_sizes_pkey PRIMARY KEY (workspace, provider, plan, zone),
  constraint plan_sizes_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name) ON DELETE CASCADE
);

create table provisioning.provider_credentials (
  workspace text not null,
  provider text not null,
  credentials text not null,
  fields text[] not null,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  updated_by text not null,
  constraint provider_credentials_pkey PRIMARY KEY (workspace, provider),
  constraint provider_credentials_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name) ON DELETE CASCADE
);

create table provisioning.recovery_codes (
  user_id uuid not null,
  digest bytea not null,
  constraint recovery_codes_pkey PRIMARY KEY (user_id, digest),
  constraint recovery_codes_user_id_fkey FOREIGN KEY (user_id) REFERENCES provisioning.users(id) ON DELETE CASCADE
);

create table provisioning.refresh_tokens (
  hash bytea not null,
  family uuid not null,
  user_id uuid not null,
  created_at timestamp with time zone not null default now(),
  expires_at timestamp with time zone not null,
  used_at timestamp with time zone,
  revoked_at timestamp with time zone,
  constraint refresh_tokens_pkey PRIMARY KEY (hash),
  constraint refresh_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES provisioning.users(id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_expires ON provisioning.refresh_tokens USING btree (expires_at);
CREATE INDEX refresh_tokens_family ON provisioning.refresh_tokens USING btree (family);
CREATE INDEX refresh_tokens_user ON provisioning.refresh_tokens USING btree (user_id);

create table provisioning.replicas (
  id text not null,
  lock_key bigint not null,
  role text not null,
  version text not null,
  host text not null,
  pid integer not null,
  started_at timestamp with time zone not null default now(),
  heartbeat_at timestamp with time zone not null default now(),
  constraint replicas_pkey PRIMARY KEY (id)
);

create table provisioning.role_bindings (
  user_id uuid not null,
  role text not null,
  workspace text,
  constraint role_bindings_user_id_fkey FOREIGN KEY (user_id) REFERENCES provisioning.users(id) ON DELETE CASCADE,
  constraint role_bindings_user_id_role_workspace_key UNIQUE NULLS NOT DISTINCT (user_id, role, workspace),
  constraint role_bindings_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name) ON DELETE CASCADE
);

create table provisioning.schedules (
  id uuid not null,
  name text not null,
  workspace text not null,
  workflow_type text not null,
  parameters jsonb not null,
  cron text not null,
  timezone text not null,
  overlap text not null,
  missed text not null,
  authority jsonb not null,
  next_run_at timestamp with time zone not null,
  last_run_at timestamp with time zone,
  last_workflow_id uuid,
  last_error text,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  owner_id uuid,
  state text not null default 'active'::text,
  secrets text,
  constraint schedules_missed_check CHECK ((missed = ANY (ARRAY['skip'::text, 'run_once'::text]))),
  constraint schedules_overlap_check CHECK ((overlap = ANY (ARRAY['skip'::text, 'allow'::text]))),
  constraint schedules_pkey PRIMARY KEY (id),
  constraint schedules_state_check CHECK ((state = ANY (ARRAY['active'::text, 'authority_ended'::text]))),
  constraint schedules_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name) ON DELETE CASCADE,
  constraint schedules_workspace_name_key UNIQUE (workspace, name)
);
CREATE INDEX schedules_due ON provisioning.schedules USING btree (next_run_at);

create table provisioning.second_factors (
  user_id uuid not null,
  secret text,
  pending_secret text,
  confirmed_at timestamp with time zone,
  last_step bigint,
  failures integer not null default 0,
  failing_since timestamp with time zone,
  pending_at timestamp with time zone,
  constraint second_factors_pkey PRIMARY KEY (user_id),
  constraint second_factors_user_id_fkey FOREIGN KEY (user_id) REFERENCES provisioning.users(id) ON DELETE CASCADE
);

create table provisioning.server_ssh (
  server_id text not null,
  ssh_user text not null default 'root'::text,
  port integer not null default 22,
  host_key text,
  jump jsonb,
  jump_host_key text,
  constraint server_ssh_pkey PRIMARY KEY (server_id),
  constraint server_ssh_server_id_fkey FOREIGN KEY (server_id) REFERENCES provisioning.servers(id) ON DELETE CASCADE
);

create table provisioning.servers (
  id text not null,
  workspace text not null,
  hostname text not null,
  provider text not null,
  plan text not null,
  zone text not null,
  ip_address text,
  status text not null,
  tags text[] not null default '{}'::text[],
  provider_ref text,
  operation_id uuid not null,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  drift jsonb not null default '[]'::jsonb,
  observed_at timestamp with time zone,
  owner_id uuid,
  protected boolean not null default false,
  removal_id uuid,
  expires_at timestamp with time zone,
  expiry_due_at timestamp with time zone,
  expiry_warned_at timestamp with time zone,
  expiry_refusal text,
  guards_set_by uuid,
  constraint servers_pkey PRIMARY KEY (id),
  constraint servers_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name),
  constraint servers_workspace_hostname_key UNIQUE (workspace, hostname)
);
CREATE INDEX servers_created ON provisioning.servers USING btree (created_at, id);
CREATE INDEX servers_drift ON provisioning.servers USING btree (created_at, id) WHERE (drift <> '[]'::jsonb);
CREATE INDEX servers_expiry_due ON provisioning.servers USING btree (expiry_due_at) WHERE (expiry_due_at IS NOT NULL);
CREATE INDEX servers_hostname ON provisioning.servers USING btree (hostname);
CREATE INDEX servers_operation ON provisioning.servers USING btree (operation_id);
CREATE INDEX servers_provider ON provisioning.servers USING btree (provider, created_at, id);
CREATE UNIQUE INDEX servers_provider_ref_key ON provisioning.servers USING btree (provider, provider_ref) WHERE (provider_ref IS NOT NULL);
CREATE INDEX servers_status ON provisioning.servers USING btree (status, created_at, id);
CREATE INDEX servers_tags ON provisioning.servers USING gin (tags);
CREATE INDEX servers_workspace ON provisioning.servers USING btree (workspace, created_at, id);
CREATE INDEX servers_zone ON provisioning.servers USING btree (zone, created_at, id);

create table provisioning.sessions (
  id uuid not null,
  user_id uuid not null,
  origin text not null default 'password'::text,
  created_at timestamp with time zone not null default now(),
  last_used_at timestamp with time zone not null default now(),
  address text,
  user_agent text,
  access_ttl integer,
  expires_at timestamp with time zone not null,
  ends_at timestamp with time zone not null,
  constraint sessions_pkey PRIMARY KEY (id),
  constraint sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES provisioning.users(id) ON DELETE CASCADE
);
CREATE INDEX sessions_user ON provisioning.sessions USING btree (user_id, last_used_at);

create table provisioning.settings (
  key text not null,
  value text not null,
  sealed boolean not null default false,
  constraint settings_pkey PRIMARY KEY (key)
);

create table provisioning.shared_counts (
  key text not null,
  process uuid not null,
  count bigint not null,
  expires_at timestamp with time zone not null,
  constraint shared_counts_pkey PRIMARY KEY (key, process)
);
CREATE INDEX shared_counts_expires ON provisioning.shared_counts USING btree (expires_at);

create table provisioning.ssh_keys (
  workspace text not null,
  public_key text not null,
  private_key text not null,
  generated boolean not null,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  constraint ssh_keys_pkey PRIMARY KEY (workspace),
  constraint ssh_keys_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name) ON DELETE CASCADE
);

create table provisioning.sso_logins (
  key bytea not null,
  kind text not null,
  provider_id uuid not null,
  binding bytea,
  payload text not null,
  next_poll_at timestamp with time zone,
  created_at timestamp with time zone not null default now(),
  expires_at timestamp with time zone not null,
  constraint sso_logins_pkey PRIMARY KEY (key),
  constraint sso_logins_provider_id_fkey FOREIGN KEY (provider_id) REFERENCES provisioning.identity_providers(id) ON DELETE CASCADE
);
CREATE INDEX sso_logins_created ON provisioning.sso_logins USING btree (kind, created_at);
CREATE INDEX sso_logins_provider ON provisioning.sso_logins USING btree (provider_id);

create table provisioning.sso_revocations (
  session_id uuid not null,
  provider_id uuid not null,
  tokens text not null,
  tries integer not null default 0,
  due_at timestamp with time zone not null default now(),
  constraint sso_revocations_pkey PRIMARY KEY (session_id)
);
CREATE INDEX sso_revocations_due ON provisioning.sso_revocations USING btree (due_at);

create table provisioning.sso_sessions (
  session_id uuid not null,
  provider_id uuid not null,
  tokens text not null,
  verified_at timestamp with time zone not null default now(),
  claimed_until timestamp with time zone,
  retry_at timestamp with time zone,
  constraint sso_sessions_pkey PRIMARY KEY (session_id),
  constraint sso_sessions_provider_id_fkey FOREIGN KEY (provider_id) REFERENCES provisioning.identity_providers(id) ON DELETE CASCADE,
  constraint sso_sessions_session_id_fkey FOREIGN KEY (session_id) REFERENCES provisioning.sessions(id) ON DELETE CASCADE
);
CREATE INDEX sso_sessions_provider ON provisioning.sso_sessions USING btree (provider_id);

create table provisioning.taskserv_hosts (
  server_id text not null,
  name text not null,
  taskserv_id text,
  status text not null,
  version text,
  revision integer,
  message text,
  operation_id uuid,
  checked_at timestamp with time zone,
  check_due_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  role text,
  "position" integer,
  constraint taskserv_hosts_pkey PRIMARY KEY (server_id, name),
  constraint taskserv_hosts_server_id_fkey FOREIGN KEY (server_id) REFERENCES provisioning.servers(id) ON DELETE CASCADE,
  constraint taskserv_hosts_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'installing'::text, 'running'::text, 'failed'::text, 'removing'::text, 'unknown'::text, 'absent'::text]))),
  constraint taskserv_hosts_taskserv_id_fkey FOREIGN KEY (taskserv_id) REFERENCES provisioning.taskservs(id) ON DELETE CASCADE
);
CREATE INDEX taskserv_hosts_due ON provisioning.taskserv_hosts USING btree (check_due_at) WHERE ((taskserv_id IS NOT NULL) AND (status = ANY (ARRAY['running'::text, 'failed'::text])));
CREATE INDEX taskserv_hosts_taskserv ON provisioning.taskserv_hosts USING btree (taskserv_id);

create table provisioning.taskserv_revisions (
  taskserv_id text not null,
  revision integer not null,
  version text not null,
  config jsonb not null,
  secret_names text[] not null default '{}'::text[],
  secrets text,
  operation_id uuid not null,
  created_at timestamp with time zone not null default now(),
  constraint taskserv_revisions_pkey PRIMARY KEY (taskserv_id, revision),
  constraint taskserv_revisions_taskserv_id_fkey FOREIGN KEY (taskserv_id) REFERENCES provisioning.taskservs(id) ON DELETE CASCADE
);

create table provisioning.taskservs (
  id text not null,
  workspace text not null,
  name text not null,
  version text not null,
  revision integer not null default 1,
  status text not null,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  owner_id uuid,
  protected boolean not null default false,
  removal_id uuid,
  expires_at timestamp with time zone,
  expiry_due_at timestamp with time zone,
  expiry_warned_at timestamp with time zone,
  expiry_refusal text,
  guards_set_by uuid,
  constraint taskservs_pkey PRIMARY KEY (id),
  constraint taskservs_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name)
);
CREATE INDEX taskservs_created ON provisioning.taskservs USING btree (created_at, id);
CREATE INDEX taskservs_expiry_due ON provisioning.taskservs USING btree (expiry_due_at) WHERE (expiry_due_at IS NOT NULL);
CREATE INDEX taskservs_name ON provisioning.taskservs USING btree (name, created_at, id);
CREATE INDEX taskservs_status ON provisioning.taskservs USING btree (status, created_at, id);
CREATE INDEX taskservs_workspace ON provisioning.taskservs USING btree (workspace, created_at, id);

create table provisioning.users (
  id uuid not null,
  username text not null,
  password_hash text,
  disabled boolean not null default false,
  token_generation integer not null default 0,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  service_workspace text,
  created_by text,
  constraint users_pkey PRIMARY KEY (id),
  constraint users_service_workspace_fkey FOREIGN KEY (service_workspace) REFERENCES provisioning.workspaces(name) ON DELETE CASCADE
);
CREATE INDEX users_service_workspace ON provisioning.users USING btree (service_workspace) WHERE (service_workspace IS NOT NULL);
CREATE UNIQUE INDEX users_username ON provisioning.users USING btree (lower(username));

create table provisioning.webhook_cursor (
  single boolean not null default true,
  xid xid8 not null,
  operation_id uuid not null,
  seq integer not null,
  constraint webhook_cursor_pkey PRIMARY KEY (single),
  constraint webhook_cursor_single_check CHECK (single)
);

create table provisioning.webhook_deliveries (
  id uuid not null,
  webhook_id uuid not null,
  event text not null,
  operation_id uuid,
  seq integer,
  payload text not null,
  status text not null default 'pending'::text,
  attempts integer not null default 0,
  next_attempt_at timestamp with time zone not null default now(),
  last_attempt_at timestamp with time zone,
  claim uuid,
  response_status integer,
  response_excerpt text,
  error text,
  created_at timestamp with time zone not null default now(),
  ended_at timestamp with time zone,
  constraint webhook_deliveries_pkey PRIMARY KEY (id),
  constraint webhook_deliveries_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'delivered'::text, 'failed'::text]))),
  constraint webhook_deliveries_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES provisioning.webhooks(id) ON DELETE CASCADE,
  constraint webhook_deliveries_webhook_id_operation_id_seq_key UNIQUE (webhook_id, operation_id, seq)
);
CREATE INDEX webhook_deliveries_created ON provisioning.webhook_deliveries USING btree (webhook_id, created_at, id);
CREATE INDEX webhook_deliveries_due ON provisioning.webhook_deliveries USING btree (webhook_id, next_attempt_at) WHERE (status = 'pending'::text);
CREATE INDEX webhook_deliveries_ended ON provisioning.webhook_deliveries USING btree (ended_at) WHERE (ended_at IS NOT NULL);

create table provisioning.webhooks (
  id uuid not null,
  url text not null,
  events text[] not null,
  workspace text,
  secret text not null,
  previous_secret text,
  previous_secret_until timestamp with time zone,
  active boolean not null default true,
  inactive_reason text,
  failing_since timestamp with time zone,
  born pg_snapshot not null default pg_current_snapshot(),
  owner_id uuid not null,
  created_by text not null,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  authority jsonb,
  constraint webhooks_pkey PRIMARY KEY (id),
  constraint webhooks_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name) ON DELETE CASCADE
);
CREATE INDEX webhooks_active ON provisioning.webhooks USING btree (id) WHERE active;
CREATE INDEX webhooks_created ON provisioning.webhooks USING btree (created_at, id);

create table provisioning.workflow_edges (
  workflow_id uuid not null,
  from_step text not null,
  to_step text not null,
  type text not null,
  constraint workflow_edges_pkey PRIMARY KEY (workflow_id, from_step, to_step),
  constraint workflow_edges_type_check CHECK ((type = ANY (ARRAY['hard'::text, 'soft'::text]))),
  constraint workflow_edges_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES provisioning.workflows(id) ON DELETE CASCADE
);

create table provisioning.workflow_nodes (
  workflow_id uuid not null,
  "position" integer not null,
  key text not null,
  step text not null,
  item_index integer not null,
  item jsonb,
  fields jsonb,
  status text not null,
  attempt integer not null default 0,
  operation_id uuid,
  cleanup_operation_id uuid,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  next_attempt_at timestamp with time zone,
  timed_out boolean not null default false,
  error text,
  decision jsonb,
  undo text,
  undo_attempt integer not null default 0,
  undo_operation_id uuid,
  undo_error text,
  error_code text,
  constraint workflow_nodes_pkey PRIMARY KEY (workflow_id, "position"),
  constraint workflow_nodes_status_check CHECK ((status = ANY (ARRAY['waiting'::text, 'running'::text, 'retrying'::text, 'completed'::text, 'failed'::text, 'cancelled'::text, 'skipped'::text, 'not_run'::text]))),
  constraint workflow_nodes_undo_check CHECK ((undo = ANY (ARRAY['running'::text, 'retrying'::text, 'undone'::text, 'failed'::text, 'nothing'::text, 'kept'::text]))),
  constraint workflow_nodes_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES provisioning.workflows(id) ON DELETE CASCADE,
  constraint workflow_nodes_workflow_id_key_key UNIQUE (workflow_id, key)
);
CREATE INDEX workflow_nodes_operation ON provisioning.workflow_nodes USING btree (operation_id) WHERE (operation_id IS NOT NULL);

create table provisioning.workflow_secrets (
  workflow_id uuid not null,
  name text not null,
  sealed text not null,
  constraint workflow_secrets_pkey PRIMARY KEY (workflow_id, name),
  constraint workflow_secrets_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES provisioning.workflows(id) ON DELETE CASCADE
);

create table provisioning.workflows (
  id uuid not null,
  type text,
  parameters jsonb not null,
  definition jsonb not null,
  nested jsonb not null,
  steps jsonb not null,
  settings jsonb not null,
  workspace_settings jsonb not null,
  authority jsonb not null,
  retry_of uuid,
  retried_by uuid,
  rollback_operation_id uuid,
  unfinished_starts smallint not null default 0,
  constraint workflows_id_fkey FOREIGN KEY (id) REFERENCES provisioning.operations(id) ON DELETE CASCADE,
  constraint workflows_pkey PRIMARY KEY (id)
);
CREATE INDEX workflows_type ON provisioning.workflows USING btree (type);

create table provisioning.workspace_secrets (
  workspace text not null,
  key text not null,
  version integer not null,
  value text not null,
  created_at timestamp with time zone not null default now(),
  created_by text not null,
  updated_at timestamp with time zone not null default now(),
  updated_by text not null,
  owner_id uuid not null,
  constraint workspace_secrets_pkey PRIMARY KEY (workspace, key),
  constraint workspace_secrets_workspace_fkey FOREIGN KEY (workspace) REFERENCES provisioning.workspaces(name) ON DELETE CASCADE
);

create table provisioning.workspaces (
  name text not null,
  path text not null,
  active boolean not null default false,
  last_used timestamp with time zone,
  created_at timestamp with time zone not null default now(),
  limits jsonb not null default '{}'::jsonb,
  constraint workspaces_path_key UNIQUE (path),
  constraint workspaces_pkey PRIMARY KEY (name)
);
CREATE UNIQUE INDEX workspaces_one_active ON provisioning.workspaces USING btree (active) WHERE active;

create table simulated_cloud.calls (
  id bigint not null,
  at timestamp with time zone not null default clock_timestamp(),
  call text not null,
  ref text,
  operation_id text,
  outcome text not null,
  constraint calls_pkey PRIMARY KEY (id)
);
CREATE INDEX simulated_calls_operation ON simulated_cloud.calls USING btree (operation_id);

create table simulated_cloud.failures (
  ref text not null,
  label text not null,
  hangs boolean not null default false,
  constraint failures_pkey PRIMARY KEY (ref, label)
);

create table simulated_cloud.marks (
  ref text not null,
  name text not null,
  mark text not null,
  constraint marks_pkey PRIMARY KEY (ref, name)
);

create table simulated_cloud.runs (
  id bigint not null,
  at timestamp with time zone not null default clock_timestamp(),
  ref text not null,
  kind text not null,
  label text,
  job_id text,
  ends_at timestamp with time zone not null,
  exit_code smallint,
  attached integer not null default 1,
  constraint runs_kind_check CHECK ((kind = ANY (ARRAY['run'::text, 'job'::text, 'upload'::text]))),
  constraint runs_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX simulated_runs_job ON simulated_cloud.runs USING btree (ref, job_id) WHERE (job_id IS NOT NULL);
CREATE INDEX simulated_runs_label ON simulated_cloud.runs USING btree (ref, label);

create table simulated_cloud.servers (
  ref text not null,
  operation_id text,
  workspace text,
  hostname text not null,
  plan text not null,
  zone text not null,
  ip_address text not null,
  tags text[] not null default '{}'::text[],
  power text not null,
  broken boolean not null default false,
  settles_at timestamp with time zone not null,
  change text not null,
  created_at timestamp with time zone not null default clock_timestamp(),
  installation text,
  constraint servers_change_check CHECK ((change = ANY (ARRAY['create'::text, 'start'::text, 'stop'::text, 'restart'::text, 'delete'::text]))),
  constraint servers_pkey PRIMARY KEY (ref),
  constraint servers_power_check CHECK ((power = ANY (ARRAY['on'::text, 'off'::text])))
);
CREATE INDEX simulated_servers_deleting ON simulated_cloud.servers USING btree (operation_id) WHERE (change = 'delete'::text);
CREATE UNIQUE INDEX simulated_servers_operation ON simulated_cloud.servers USING btree (operation_id) WHERE (change <> 'delete'::text);

CREATE OR REPLACE FUNCTION provisioning.audit_checkpoints_are_append_only()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
  begin
    if tg_op = 'DELETE' and old.position < (select through from provisioning.audit_retention)
      and old.position < (select max(position) from provisioning.audit_checkpoints) then
      return old;
    end if;
    if tg_op = 'TRUNCATE' and not exists (select from provisioning.audit_checkpoints) then
      return null;
    end if;
    raise exception 'checkpoints of the audit log are append-only';
  end $function$;

CREATE OR REPLACE FUNCTION provisioning.audit_log_is_append_only()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
  begin
    if tg_op = 'UPDATE' and old.position is null and new.position is not null and new.hash is not null
      and row(new.id, new.at, new.principal, new.action, new.workspace, new.resource, new.outcome, new.address,
              new.request_id, new.operation_id, new.details)
        is not distinct from
          row(old.id, old.at, old.principal, old.action, old.workspace, old.resource, old.outcome, old.address,
              old.request_id, old.operation_id, old.details) then
      return new;
    end if;
    if tg_op = 'DELETE' and old.at < now() - interval '20 hours'
      and old.position <= (select r.through from provisioning.audit_retention r
        join provisioning.audit_exports e on e.destination = r.exported_to and e.position >= r.through)
      and old.position < (select max(position) from provisioning.audit_checkpoints) then
      return old;
    end if;
    -- A restore empties what it has just made.
    if tg_op = 'TRUNCATE' and not exists (select from provisioning.audit_log) then
      return null;
    end if;
    raise exception 'the audit log is append-only';
  end $function$;

CREATE OR REPLACE FUNCTION provisioning.owner_from_name()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
   begin
     new.owner_id := (select id from provisioning.users where lower(username) = new.created_by);
     return new;
   end $function$;

CREATE OR REPLACE FUNCTION provisioning.server_departs()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
  begin
    insert into provisioning.departed_servers (provider, provider_ref, operation_id)
    values (old.provider, old.provider_ref, old.operation_id);
    return null;
  end $function$;

CREATE OR REPLACE FUNCTION provisioning.settled_taskserv_status(id text)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
    select case when count(*) = count(*) filter (where status = 'running') then 'running'
                when bool_or(status = 'running') then 'degraded' else 'failed' end
    from provisioning.taskserv_hosts where taskserv_id = id
  $function$;

CREATE OR REPLACE FUNCTION provisioning.sso_session_ends()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
   begin
     insert into provisioning.sso_revocations (session_id, provider_id, tokens)
     values (old.session_id, old.provider_id, old.tokens) on conflict do nothing;
     return null;
   end $function$;

CREATE OR REPLACE FUNCTION provisioning.taskserv_hosts_are_gone()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
  begin
    perform from provisioning.taskservs where id in (select taskserv_id from gone) order by id for update;
    delete from provisioning.taskservs t
    where id in (select taskserv_id from gone)
      and not exists (select from provisioning.taskserv_hosts h where h.taskserv_id = t.id);
    update provisioning.taskservs t
    set status = provisioning.settled_taskserv_status(t.id), updated_at = now()
    where id in (select taskserv_id from gone) and status in ('running', 'degraded', 'failed')
      and status <> provisioning.settled_taskserv_status(t.id);
    return null;
  end $function$;

CREATE OR REPLACE FUNCTION provisioning.user_departs()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
   begin
     insert into provisioning.departed_users (username) values (old.username)
     on conflict (username) do update set departed_at = now();
     return null;
   end $function$;

CREATE TRIGGER audit_checkpoints_are_append_only BEFORE DELETE OR UPDATE ON provisioning.audit_checkpoints FOR EACH ROW EXECUTE FUNCTION provisioning.audit_checkpoints_are_append_only();

CREATE TRIGGER audit_checkpoints_are_not_truncated BEFORE TRUNCATE ON provisioning.audit_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION provisioning.audit_checkpoints_are_append_only();

CREATE TRIGGER audit_log_is_append_only BEFORE DELETE OR UPDATE ON provisioning.audit_log FOR EACH ROW EXECUTE FUNCTION provisioning.audit_log_is_append_only();

CREATE TRIGGER audit_log_is_not_truncated BEFORE TRUNCATE ON provisioning.audit_log FOR EACH STATEMENT EXECUTE FUNCTION provisioning.audit_log_is_append_only();

CREATE TRIGGER owner_from_name BEFORE INSERT ON provisioning.taskservs FOR EACH ROW WHEN ((new.owner_id IS NULL)) EXECUTE FUNCTION provisioning.owner_from_name();

CREATE TRIGGER owner_from_name BEFORE INSERT ON provisioning.schedules FOR EACH ROW WHEN ((new.owner_id IS NULL)) EXECUTE FUNCTION provisioning.owner_from_name();

CREATE TRIGGER owner_from_name BEFORE INSERT ON provisioning.operations FOR EACH ROW WHEN ((new.owner_id IS NULL)) EXECUTE FUNCTION provisioning.owner_from_name();

CREATE TRIGGER owner_from_name BEFORE INSERT ON provisioning.servers FOR EACH ROW WHEN ((new.owner_id IS NULL)) EXECUTE FUNCTION provisioning.owner_from_name();

CREATE TRIGGER server_departs AFTER DELETE ON provisioning.servers FOR EACH ROW EXECUTE FUNCTION provisioning.server_departs();

CREATE TRIGGER server_departs_by_change AFTER UPDATE OF provider_ref, operation_id ON provisioning.servers FOR EACH ROW WHEN (((old.operation_id <> new.operation_id) OR ((old.provider_ref IS NOT NULL) AND (old.provider_ref IS DISTINCT FROM new.provider_ref)))) EXECUTE FUNCTION provisioning.server_departs();

CREATE TRIGGER sso_session_ends AFTER DELETE ON provisioning.sso_sessions FOR EACH ROW EXECUTE FUNCTION provisioning.sso_session_ends();

CREATE TRIGGER taskserv_hosts_are_gone AFTER DELETE ON provisioning.taskserv_hosts REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION provisioning.taskserv_hosts_are_gone();

CREATE TRIGGER user_departs AFTER DELETE ON provisioning.users FOR EACH ROW EXECUTE FUNCTION provisioning.user_departs();

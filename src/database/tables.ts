import type { ColumnType, Generated, JSONColumnType } from 'kysely';

/** Set by the database when it is not given. */
type Timestamp = ColumnType<Date, Date | undefined, Date>;
type NullableTimestamp = ColumnType<Date | null, Date | null | undefined, Date | null>;
type Json = JSONColumnType<Record<string, unknown>, string, string>;
type NullableJson = ColumnType<Record<string, unknown> | null, string | null | undefined, string | null>;

export type OperationStatus = 'pending' | 'running' | 'completed' | 'failed' | 'cancelled';

/** How a taskserv stands on one host. `absent`: looked, and it is not there. */
export type TaskservHostStatus = 'pending' | 'installing' | 'running' | 'failed' | 'removing' | 'unknown' | 'absent';

/** How a node of a workflow stands. skipped: its `when` is false; not_run: what it needed did not succeed. */
export type WorkflowNodeStatus =
  | 'waiting'
  | 'running'
  | 'retrying'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'skipped'
  | 'not_run';

/** How far undoing a node is. nothing: there is nothing to undo; kept: it cannot be undone. */
export type WorkflowUndoStatus = 'running' | 'retrying' | 'undone' | 'failed' | 'nothing' | 'kept';

/** Rows as migrations/schema.sql defines them. */
/** What guards a thing: src/servers/guards/. */
interface GuardColumns {
  protected: Generated<boolean>;
  /** The operation that has begun to delete it. */
  removal_id: string | null;
  expires_at: NullableTimestamp;
  /** When its expiry is looked at next; null: it does not expire. */
  expiry_due_at: NullableTimestamp;
  /** When it was last announced that it expires. */
  expiry_warned_at: NullableTimestamp;
  /** Code of the refusal of its deletion that was told last. */
  expiry_refusal: string | null;
  /** The operation that set protection or expiry last; null: that came with another change. */
  guards_set_by: string | null;
}

export interface Tables {
  'provisioning.settings': { key: string; value: string; sealed: Generated<boolean> };
  'provisioning.replicas': {
    id: string;
    lock_key: string;
    role: string;
    version: string;
    host: string;
    pid: number;
    started_at: Timestamp;
    heartbeat_at: Timestamp;
  };
  'provisioning.workspaces': {
    name: string;
    path: string;
    active: Generated<boolean>;
    last_used: NullableTimestamp;
    /** What its servers may be together (src/limits/workspace-room.ts). */
    limits: ColumnType<Record<string, number>, string | undefined, string>;
    created_at: Timestamp;
  };
  'provisioning.operations': {
    id: string;
    kind: string;
    status: Generated<OperationStatus>;
    workspace: string;
    resource: string | null;
    parent_id: string | null;
    /** What it does, in words; null: accepted by a version that did not say. */
    title: string | null;
    check_mode: Generated<boolean>;
    input: Json;
    result: NullableJson;
    error: string | null;
    error_code: string | null;
    progress: Generated<number>;
    last_seq: Generated<number>;
    /** What is kept of its output, as `bytesOf` counts it. */
    event_bytes: Generated<string>;
    /** Name of the user who asked for it, for display. */
    created_by: string;
    /** Whose it is. Null: the server's own, or of somebody whom nobody remembers. */
    owner_id: string | null;
    created_at: Timestamp;
    updated_at: Timestamp;
    finished_at: NullableTimestamp;
    cancel_requested_at: NullableTimestamp;
    cancel_requested_by: string | null;
  };
  'provisioning.operation_events': {
    operation_id: string;
    seq: number;
    at: Timestamp;
    type: 'status' | 'progress' | 'log';
    data: Json;
  };
  'provisioning.servers': GuardColumns & {
    id: string;
    workspace: string;
    hostname: string;
    provider: string;
    plan: string;
    zone: string;
    ip_address: string | null;
    status: string;
    tags: Generated<string[]>;
    provider_ref: string | null;
    operation_id: string;
    created_by: string;
    owner_id: string | null;
    created_at: Timestamp;
    updated_at: Timestamp;
    drift: ColumnType<DriftEntry[], string | undefined, string>;
    observed_at: NullableTimestamp;
  };
  'provisioning.provider_credentials': {
    workspace: string;
    provider: string;
    credentials: string;
    fields: string[];
    created_at: Timestamp;
    updated_at: Timestamp;
    updated_by: string;
  };
  'provisioning.account_sweeps': {
    provider: string;
    account: string;
    due_at: Date;
    listed_at: NullableTimestamp;
    error: string | null;
    holder: string | null;
  };
  'provisioning.departed_servers': {
    provider: string;
    provider_ref: string | null;
    operation_id: string;
    departed_at: Timestamp;
  };
  'provisioning.orphans': {
    id: string;
    provider: string;
    ref: string;
    account: string | null;
    operation_id: string | null;
    workspace: string | null;
    hostname: string;
    plan: string;
    zone: string;
    status: string;
    ip_address: string | null;
    first_seen_at: Timestamp;
    last_seen_at: Timestamp;
    deletion_id: string | null;
    tags: Generated<string[]>;
    price: NullableJson;
    protected: Generated<boolean>;
    removal_id: string | null;
  };
  'provisioning.taskservs': GuardColumns & {
    id: string;
    workspace: string;
    name: string;
    version: string;
    revision: Generated<number>;
    status: string;
    created_by: string;
    owner_id: string | null;
    created_at: Timestamp;
    updated_at: Timestamp;
  };
  'provisioning.taskserv_revisions': {
    taskserv_id: string;
    revision: number;
    version: string;
    config: Json;
    secret_names: Generated<string[]>;
    secrets: string | null;
    operation_id: string;
    created_at: Timestamp;
  };
  'provisioning.taskserv_hosts': {
    server_id: string;
    name: string;
    taskserv_id: string | null;
    status: TaskservHostStatus;
    version: string | null;
    revision: number | null;
    message: string | null;
    operation_id: string | null;
    checked_at: NullableTimestamp;
    check_due_at: Timestamp;
    updated_at: Timestamp;
    role: string | null;
    position: number | null;
  };
  'provisioning.host_turns': { server_id: string; operation_id: string; turn: string };
  'provisioning.data_keys': { name: string; sealed: string; master_key_id: string; created_at: Timestamp };
  'provisioning.ssh_keys': {
    workspace: string;
    public_key: string;
    private_key: string;
    generated: boolean;
    created_by: string;
    created_at: Timestamp;
    updated_at: Timestamp;
  };
  'provisioning.server_ssh': {
    server_id: string;
    ssh_user: Generated<string>;
    port: Generated<number>;
    host_key: string | null;
    jump: ColumnType<{ address: string; port: number; user: string } | null, string | null, string | null>;
    jump_host_key: string | null;
  };
  'provisioning.users': {
    id: string;
    username: string;
    /** Null: no password opens it. */
    password_hash: string | null;
    disabled: Generated<boolean>;
    token_generation: Generated<number>;
    /** The workspace that owns this service account; null: a person. */
    service_workspace: ColumnType<string | null, string | undefined, never>;
    created_by: ColumnType<string | null, string | undefined, never>;
    created_at: Timestamp;
    updated_at: Timestamp;
  };
  'provisioning.sessions': {
    id: string;
    user_id: string;
    origin: Generated<string>;
    created_at: Timestamp;
    last_used_at: Timestamp;
    address: string | null;
    user_agent: string | null;
    access_ttl: number | null;
    expires_at: Date;
    ends_at: Date;
  };
  'provisioning.second_factors': {
    user_id: string;
    secret: string | null;
    pending_secret: string | null;
    confirmed_at: NullableTimestamp;
    last_step: ColumnType<string | null, number, number>;
    failures: Generated<number>;
    failing_since: NullableTimestamp;
    /** When the pending secret was made. */
    pending_at: NullableTimestamp;
  };
  'provisioning.recovery_codes': { user_id: string; digest: Buffer };
  'provisioning.identity_providers': {
    id: string;
    name: string;
    title: string;
    issuer: string;
    enabled: Generated<boolean>;
    client_id: string | null;
    client_secret: string | null;
    scopes: string[];
    groups_claim: string;
    username_claim: string;
    recheck_seconds: number;
    roles_hold_seconds: number;
    device_login: boolean;
    required_acr: string[];
    required_amr: string[];
    version: Generated<number>;
    created_at: Timestamp;
    updated_at: Timestamp;
  };
  'provisioning.group_roles': { provider_id: string; group_name: string; role: string; workspace: string | null };
  'provisioning.exchange_rules': {
    provider_id: string;
    name: string;
    audience: string;
    claims: ColumnType<Record<string, string[]>, string, string>;
    account_id: string;
    permissions: string[] | null;
    expires_in: number;
    created_by_id: string | null;
    stopped: Generated<boolean>;
  };
  'provisioning.identities': {
    issuer: string;
    subject: string;
    user_id: string;
    groups: string[];
    vouched_at: Timestamp;
  };
  'provisioning.sso_sessions': {
    session_id: string;
    provider_id: string;
    tokens: string;
    verified_at: Timestamp;
    claimed_until: NullableTimestamp;
    retry_at: NullableTimestamp;
  };
  'provisioning.sso_revocations': {
    session_id: string;
    provider_id: string;
    tokens: string;
    tries: Generated<number>;
    due_at: Timestamp;
  };
  'provisioning.sso_logins': {
    key: Buffer;
    kind: string;
    provider_id: string;
    binding: Buffer | null;
    payload: string;
    next_poll_at: NullableTimestamp;
    created_at: Timestamp;
    expires_at: Date;
  };
  'provisioning.departed_users': { username: string; departed_at: Timestamp };
  'provisioning.name_references': { username: string; what: string };
  'provisioning.role_bindings': { user_id: string; role: string; workspace: string | null };
  'provisioning.refresh_tokens': {
    hash: Buffer;
    family: string;
    user_id: string;
    created_at: Timestamp;
    expires_at: Date;
    used_at: NullableTimestamp;
    revoked_at: NullableTimestamp;
  };
  'provisioning.api_tokens': {
    id: string;
    user_id: string;
    name: string;
    hash: Buffer;
    roles: ColumnType<RoleBinding[], string, string>;
    /** In the place of `roles`, where a binding is narrowed to single permissions. */
    narrowed: ColumnType<RoleBinding[] | null, string | null, never>;
    created_at: Timestamp;
    expires_at: NullableTimestamp;
    last_used_at: NullableTimestamp;
    revoked_at: NullableTimestamp;
    /** Null: its owner, or a version that did not note it. */
    created_by_id: string | null;
    /** Made for the token of a job, by this provider and this rule of it. */
    exchanged_by: string | null;
    exchanged_rule: string | null;
  };
  'provisioning.idempotency_keys': {
    principal: string;
    key: string;
    request_hash: Buffer;
    /** The hash is keyed. False: by a version that stored plain ones. */
    request_keyed: Generated<boolean>;
    response_status: number | null;
    response_body: string | null;
    response_sealed: Generated<boolean>;
    response_location: string | null;
    created_at: Timestamp;
  };
  'provisioning.audit_log': {
    id: string;
    at: Timestamp;
    principal: string;
    action: string;
    workspace: string | null;
    resource: string | null;
    outcome: 'allowed' | 'denied' | 'failed';
    address: string | null;
    request_id: string | null;
    operation_id: string | null;
    details: NullableJson;
    position: string | null;
    hash: Buffer | null;
  };
  'provisioning.audit_checkpoints': {
    number: string;
    since: string;
    position: string;
    hash: Buffer;
    at: Timestamp;
    previous: Buffer | null;
    mac: Buffer;
  };
  'provisioning.audit_exports': {
    destination: string;
    position: string;
    hash: Buffer;
    exported_at: Timestamp;
    mac: Buffer;
  };
  'provisioning.audit_retention': {
    one: Generated<boolean>;
    through: string;
    hash: Buffer;
    at: Timestamp;
    exported_to: string;
    mac: Buffer;
  };
  'provisioning.workflows': {
    id: string;
    type: string | null;
    parameters: Json;
    definition: Json;
    nested: Json;
    steps: ColumnType<unknown[], string, string>;
    settings: Json;
    workspace_settings: Json;
    authority: Json;
    retry_of: string | null;
    retried_by: string | null;
    rollback_operation_id: string | null;
    unfinished_starts: Generated<number>;
  };
  'provisioning.workflow_nodes': {
    workflow_id: string;
    position: number;
    key: string;
    step: string;
    item_index: number;
    item: ColumnType<unknown, string | null, string | null>;
    fields: NullableJson;
    status: WorkflowNodeStatus;
    attempt: Generated<number>;
    operation_id: string | null;
    cleanup_operation_id: string | null;
    started_at: NullableTimestamp;
    finished_at: NullableTimestamp;
    next_attempt_at: NullableTimestamp;
    timed_out: Generated<boolean>;
    error: string | null;
    error_code: ColumnType<string | null, string | null | undefined, string | null>;
    decision: NullableJson;
    undo: WorkflowUndoStatus | null;
    undo_attempt: Generated<number>;
    undo_operation_id: string | null;
    undo_error: string | null;
  };
  'provisioning.workspace_secrets': {
    workspace: string;
    key: string;
    version: number;
    value: string;
    created_at: Timestamp;
    created_by: string;
    updated_at: Timestamp;
    updated_by: string;
    owner_id: string;
  };
  'provisioning.schedules': {
    id: string;
    name: string;
    workspace: string;
    workflow_type: string;
    parameters: Json;
    secrets: string | null;
    cron: string;
    timezone: string;
    overlap: 'skip' | 'allow';
    missed: 'skip' | 'run_once';
    authority: Json;
    next_run_at: Date;
    last_run_at: NullableTimestamp;
    last_workflow_id: string | null;
    last_error: string | null;
    state: Generated<'active' | 'authority_ended'>;
    created_by: string;
    owner_id: string | null;
    created_at: Timestamp;
  };
  'provisioning.webhooks': {
    id: string;
    url: string;
    events: string[];
    workspace: string | null;
    secret: string;
    previous_secret: string | null;
    previous_secret_until: NullableTimestamp;
    active: Generated<boolean>;
    inactive_reason: string | null;
    failing_since: NullableTimestamp;
    born: Generated<string>;
    owner_id: string;
    authority: NullableJson;
    created_by: string;
    created_at: Timestamp;
    updated_at: Timestamp;
  };
  'provisioning.webhook_deliveries': {
    id: string;
    webhook_id: string;
    event: string;
    operation_id: string | null;
    seq: number | null;
    payload: string;
    status: Generated<'pending' | 'delivered' | 'failed'>;
    attempts: Generated<number>;
    next_attempt_at: Timestamp;
    last_attempt_at: NullableTimestamp;
    claim: string | null;
    response_status: number | null;
    response_excerpt: string | null;
    error: string | null;
    created_at: Timestamp;
    ended_at: NullableTimestamp;
  };
  'provisioning.webhook_cursor': { single: Generated<boolean>; xid: string; operation_id: string; seq: number };
  'provisioning.workflow_secrets': { workflow_id: string; name: string; sealed: string };
  'provisioning.workflow_edges': { workflow_id: string; from_step: string; to_step: string; type: 'hard' | 'soft' };
  'simulated_cloud.servers': {
    ref: string;
    operation_id: string | null;
    workspace: string | null;
    installation: string | null;
    hostname: string;
    plan: string;
    zone: string;
    ip_address: string;
    tags: Generated<string[]>;
    power: 'on' | 'off';
    broken: Generated<boolean>;
    settles_at: Date;
    change: 'create' | 'start' | 'stop' | 'restart' | 'delete';
    created_at: Timestamp;
  };
  'simulated_cloud.calls': {
    id: Generated<string>;
    at: Timestamp;
    call: string;
    ref: string | null;
    operation_id: string | null;
    outcome: string;
  };
  'simulated_cloud.runs': {
    id: Generated<string>;
    at: Timestamp;
    ref: string;
    kind: 'run' | 'job' | 'upload';
    label: string | null;
    job_id: string | null;
    ends_at: Date;
    exit_code: number | null;
    attached: Generated<number>;
  };
}

/** A role held in one workspace, or in all (`workspace: null`). */
export interface RoleBinding {
  role: string;
  workspace: string | null;
  /** Of the role's permissions these alone; absent: all. */
  permissions?: string[];
}

/** One thing that the provider says otherwise than we left it. */
export interface DriftEntry {
  field: 'status' | 'ip_address' | 'plan' | 'zone' | 'tags';
  expected: string | string[] | null;
  actual: string | string[] | null;
  /** When it was first seen. */
  since: string;
}

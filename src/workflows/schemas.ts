import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import { createdFilters } from '../http/created-filters.ts';
import { filter, type ListDefinition } from '../http/list.ts';
import { MAX_DEFINITION_BYTES } from './definition/limits.ts';
import { WORKFLOW_JSON } from './store.ts';

const closed = { additionalProperties: false } as const;
const workspace = Type.String({ minLength: 1, maxLength: 63, examples: ['production'] });
const parameters = Type.Record(Type.String(), Type.Unknown(), {
  description: 'Must match the schema of the type. If left out, provider, plan and zone come from the workspace.',
});
const workflowType = Type.String({ minLength: 1, maxLength: 63, examples: ['cluster_create'] });

export const SubmitWorkflow = Type.Object(
  { workspace, workflow_type: workflowType, parameters: Type.Optional(parameters) },
  closed,
);
export type SubmitWorkflow = Static<typeof SubmitWorkflow>;

export const ValidateWorkflow = Type.Object(
  {
    workspace,
    workflow_type: Type.Optional(workflowType),
    parameters: Type.Optional(parameters),
    definition: Type.Optional(
      Type.String({ maxLength: MAX_DEFINITION_BYTES, description: 'YAML of a definition, instead of a type.' }),
    ),
  },
  closed,
);

const names = Type.Array(Type.String());

/** A workflow as it would run. */
export const WorkflowGraph = Type.Object(
  {
    workflow_type: Type.Union([Type.String(), Type.Null()]),
    parameters: Type.Record(Type.String(), Type.Unknown(), { description: 'With defaults.' }),
    steps: Type.Array(
      Type.Object({
        id: Type.String(),
        kind: Type.String(),
        nodes: Type.Integer({ description: 'Number of operations that the step creates.' }),
        skipped: Type.Integer({ description: 'How many of them are skipped by `when`.' }),
      }),
    ),
    nodes: Type.Array(
      Type.Object({
        id: Type.String({ examples: ['web[0]'] }),
        step: Type.String(),
        kind: Type.String(),
        with: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()], {
          description: 'Null if it depends on results of other steps.',
        }),
        skipped: Type.Boolean(),
      }),
    ),
    edges: Type.Array(Type.Object({ from: Type.String(), to: Type.String(), type: Type.Enum(['hard', 'soft']) }), {
      description: 'Between steps.',
    }),
    waves: Type.Array(names, {
      description: 'Steps that can run at the same time, one wave after the other, without skipped steps.',
    }),
    critical_path: Type.Array(Type.String(), { description: 'The longest chain of steps.' }),
    parallel_limit: Type.Integer(),
    permissions: Type.Array(Type.String(), { description: 'Permissions that the caller needs.' }),
    costs: Type.Array(
      Type.Object({
        currency: Type.Union([Type.String(), Type.Null()], { description: "Null: the account's own currency." }),
        hourly: Type.Number(),
        monthly: Type.Number({ description: 'Maximum for a whole month.' }),
      }),
      { description: 'Cost of all servers that it creates, including nested workflows; one amount per currency.' },
    ),
    unpriced: Type.Integer({ description: 'Servers whose price or plan is not known.' }),
  },
  { title: 'WorkflowGraph' },
);

export const WorkflowTypeSchema = Type.Object(
  {
    name: Type.String({ examples: ['cluster_create'] }),
    summary: Type.Union([Type.String(), Type.Null()]),
    origin: Type.Enum(['built-in', 'workspace'], { description: 'Built in, or a file of the workspace.' }),
    parameters: Type.Record(Type.String(), Type.Unknown(), { description: 'JSON Schema.' }),
    problems: Type.Array(Type.Unknown(), { description: 'Why it cannot be used; empty when it can.' }),
    definition: Type.Optional(
      Type.String({ description: 'The definition in YAML. Only in the answer for a single type.' }),
    ),
  },
  { title: 'WorkflowType' },
);

export const WorkspaceQuery = Type.Object(
  {
    workspace: Type.Optional(
      Type.String({ minLength: 1, maxLength: 63, description: 'Include the types of this workspace.' }),
    ),
  },
  closed,
);
export const TypeName = Type.Object({ name: Type.String({ minLength: 1, maxLength: 63 }) }, closed);

const OPERATION_STATUSES = ['pending', 'running', 'completed', 'failed', 'cancelled'] as const;
const NODE_STATUSES = [
  'waiting',
  'running',
  'retrying',
  'completed',
  'failed',
  'cancelled',
  'skipped',
  'not_run',
] as const;
const nullableText = (description: string) => Type.Union([Type.String(), Type.Null()], { description });
const time = (description: string) => Type.String({ format: 'date-time', description });
const nullableTime = (description: string) =>
  Type.Union([Type.String({ format: 'date-time' }), Type.Null()], { description });
const anyObject = Type.Record(Type.String(), Type.Unknown());

/** A run: the reference's fields, then ours. */
export const Workflow = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    workflow_type: nullableText('Null: it was made from a definition without a name.'),
    status: Type.Enum(OPERATION_STATUSES),
    created_at: time('When it was accepted.'),
    updated_at: time('When it last changed.'),
    workspace: Type.String(),
    parameters: Type.Unsafe<Record<string, unknown>>({ ...anyObject, description: 'With defaults.' }),
    progress: Type.Integer({ minimum: 0, maximum: 100, description: 'Percentage of nodes that have ended.' }),
    nodes: Type.Record(Type.String(), Type.Integer(), { description: 'Number of nodes by status.' }),
    result: Type.Union([anyObject, Type.Null()], { description: 'The outputs of the type.' }),
    error: nullableText('Which node failed, and why.'),
    error_code: nullableText('Why it failed, for programs.'),
    created_by: Type.String(),
    parent_id: nullableText('The workflow that it is a part of.'),
    retry_of: nullableText('The run that it repeats.'),
    retried_by: nullableText('The run that repeats it.'),
    rollback_operation_id: nullableText('The operation that undoes, or has undone, what it did.'),
    cancel_requested_at: nullableTime('When somebody asked it to stop.'),
  },
  { title: 'Workflow' },
);

/** A node of a run. */
export const WorkflowStep = Type.Object(
  {
    id: Type.String({ examples: ['web[0]'] }),
    step: Type.String(),
    kind: Type.String(),
    depends_on: Type.Array(Type.Object({ id: Type.String(), type: Type.Enum(['hard', 'soft']) }), {
      description:
        'Steps whose nodes must all have ended before: those that it names, and those whose results it reads.',
    }),
    status: Type.Enum(NODE_STATUSES, {
      description:
        'skipped: its `when` is false. not_run: what it needed did not succeed, or the workflow stopped before its turn.',
    }),
    attempt: Type.Integer({ description: 'Number of attempts started.' }),
    with: Type.Union([anyObject, Type.Null()], { description: 'Null while it is not known.' }),
    operation_id: nullableText('The operation of its last try.'),
    progress: Type.Union([Type.Integer(), Type.Null()]),
    result: Type.Union([anyObject, Type.Null()]),
    error: nullableText('Of the last try.'),
    error_code: nullableText('Why it failed, for programs: `AUTHORITY_ENDED` where its submitter may no longer do it.'),
    started_at: nullableTime('Begin of the last try.'),
    finished_at: nullableTime('When it ended for good.'),
    next_attempt_at: nullableTime('Of one that is retrying.'),
    cleanup_operation_id: nullableText('The same as follow_up_operation_id, for clients that know only this name.'),
    follow_up_operation_id: nullableText('What cleans up, or looks what is left, after a try that failed.'),
    decision: Type.Union([anyObject, Type.Null()], { description: 'Of an approval.' }),
    undo: nullableText('How far undoing it is: running, retrying, undone, failed, nothing (to undo), kept.'),
    undo_operation_id: nullableText('The operation that undoes it.'),
    undo_error: nullableText('Why it could not be undone.'),
  },
  { title: 'WorkflowStep' },
);

const text = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000]+$' });

/** GET /v1/workflows. */
export const WORKFLOW_LIST: ListDefinition = {
  table: 'provisioning.workflow_runs',
  json: WORKFLOW_JSON,
  id: 'id',
  idType: 'uuid',
  filters: {
    status: filter<string>(Type.Enum(OPERATION_STATUSES), (value) => sql`status = ${value}`),
    workspace: filter<string>(text(63), (value) => sql`workspace = ${value}`),
    workflow_type: filter<string>(text(63), (value) => sql`type = ${value}`),
    created_by: filter<string>(text(253), (value) => sql`created_by = ${value}`),
    ...createdFilters(),
  },
  sorts: { created_at: { column: 'created_at', type: 'timestamptz' } },
  defaultSort: '-created_at',
};

export const WorkflowId = Type.Object(
  { id: Type.String({ minLength: 1, maxLength: 63, description: 'UUID of the workflow.' }) },
  closed,
);

export const StepsQuery = Type.Object(
  {
    status: Type.Optional(Type.Enum(NODE_STATUSES)),
    step: Type.Optional(text(63)),
    after: Type.Optional(
      Type.Integer({ minimum: -1, maximum: 1_000_000, default: -1, description: 'From a Link header.' }),
    ),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 20_000, default: 20_000 })),
    brief: Type.Optional(
      Type.Boolean({ default: false, description: 'Return null for `with` and `result`, for large workflows.' }),
    ),
  },
  closed,
);

export const StepId = Type.Object(
  {
    id: Type.String({ minLength: 1, maxLength: 63, description: 'UUID of the workflow.' }),
    step: Type.String({
      minLength: 1,
      maxLength: 100,
      description: 'Id of the node: `review`, or `review[0]` with for_each.',
    }),
  },
  closed,
);

export const Approve = Type.Union([
  Type.Object(
    {
      approve: Type.Optional(Type.Boolean({ default: true, description: 'False: rejected, the node fails.' })),
      comment: Type.Optional(text(1_000)),
    },
    closed,
  ),
  Type.Null(),
]);

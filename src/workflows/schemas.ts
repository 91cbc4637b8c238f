import { Type } from 'typebox';
import { MAX_DEFINITION_BYTES } from './definition/source.ts';

const closed = { additionalProperties: false } as const;
const workspace = Type.String({ minLength: 1, maxLength: 63, examples: ['production'] });
const parameters = Type.Record(Type.String(), Type.Unknown(), {
  description: 'By the schema of the type; provider, plan and zone come from the workspace where they are left out.',
});
const workflowType = Type.String({ minLength: 1, maxLength: 63, examples: ['cluster_create'] });

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
        nodes: Type.Integer({ description: 'Operations that it becomes.' }),
        skipped: Type.Integer({ description: 'Of them those left out by `when`.' }),
      }),
    ),
    nodes: Type.Array(
      Type.Object({
        id: Type.String({ examples: ['web[0]'] }),
        step: Type.String(),
        kind: Type.String(),
        with: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()], {
          description: 'Null where it needs results of other steps.',
        }),
        skipped: Type.Boolean(),
      }),
    ),
    edges: Type.Array(Type.Object({ from: Type.String(), to: Type.String(), type: Type.Enum(['hard', 'soft']) }), {
      description: 'Between steps.',
    }),
    waves: Type.Array(names, { description: 'Steps that may run at the same time, one wave after the other.' }),
    critical_path: Type.Array(Type.String(), { description: 'The longest chain of steps.' }),
    parallel_limit: Type.Integer(),
    permissions: Type.Array(Type.String(), { description: 'What the caller needs.' }),
  },
  { title: 'WorkflowGraph' },
);

export const WorkflowTypeSchema = Type.Object(
  {
    name: Type.String({ examples: ['cluster_create'] }),
    summary: Type.Union([Type.String(), Type.Null()]),
    origin: Type.Enum(['built-in', 'workspace'], { description: "The server's own, or a file of the workspace." }),
    parameters: Type.Record(Type.String(), Type.Unknown(), { description: 'JSON Schema.' }),
    problems: Type.Array(Type.Unknown(), { description: 'Why it cannot be used; empty when it can.' }),
    definition: Type.Optional(Type.String({ description: 'Its YAML. Only where one type is asked for.' })),
  },
  { title: 'WorkflowType' },
);

export const WorkspaceQuery = Type.Object(
  {
    workspace: Type.Optional(
      Type.String({ minLength: 1, maxLength: 63, description: 'With the types of this workspace.' }),
    ),
  },
  closed,
);
export const TypeName = Type.Object({ name: Type.String({ minLength: 1, maxLength: 63 }) }, closed);

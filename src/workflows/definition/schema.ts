/** The form of a workflow definition. `npm run generate` publishes it as docs/contracts/workflow.schema.json. */
import { type Static, type TSchema, Type } from 'typebox';
import { DEFAULT_PATTERN } from '../../util/secret-pattern.ts';
import { allKinds } from '../kinds/plain-rules.ts';
import { TYPE_NAME } from './limits.ts';

/** Names that an expression can use as they are. */
const NAME = '^[a-z][a-z0-9_]{0,62}$';
/** One with hyphens stands in quotes there. */
const STEP_ID = '^[a-z][a-z0-9_-]{0,62}$';
const TEMPLATE = '\\$\\{\\{';
/** Steps of one definition at most. */
export const MAX_STEPS = 2_000;
const MAX_PARALLEL = 10_000;

const closed = { additionalProperties: false } as const;
const expression = (description: string) =>
  Type.String({ maxLength: 10_000, pattern: TEMPLATE, description: `${description} An expression: \`\${{ … }}\`.` });
/** A value, or an expression over parameters that yields one. */
const setting = <T extends TSchema>(schema: T, description: string) =>
  Type.Union([schema, Type.String({ maxLength: 10_000, pattern: TEMPLATE })], { description });
const optional = Type.Optional;

const Dependency = Type.Union([
  Type.String({ pattern: STEP_ID }),
  Type.Object(
    {
      id: Type.String({ pattern: STEP_ID }),
      type: optional(
        Type.Enum(['hard', 'soft'], { default: 'hard', description: 'soft: waits for its end, not for its success.' }),
      ),
    },
    closed,
  ),
]);

const Retry = Type.Object(
  {
    max_attempts: optional(setting(Type.Integer({ minimum: 1, maximum: 100 }), 'Tries in all. Default 1.')),
    backoff: optional(Type.Enum(['linear', 'exponential'], { default: 'exponential' })),
    initial_delay: optional(
      setting(Type.Number({ minimum: 0, maximum: 86_400 }), 'Seconds before the second try. Default 5.'),
    ),
    max_delay: optional(
      setting(Type.Number({ minimum: 0, maximum: 86_400 }), 'Seconds between two tries at most. Default 300.'),
    ),
  },
  closed,
);

/** A function, because the kinds are provided first. */
export const stepSchema = () =>
  Type.Object(
    {
      id: Type.String({
        pattern: STEP_ID,
        description: 'Expressions name it: operations.<id>, or operations."<id>" where it has a hyphen.',
      }),
      kind: Type.Enum(allKinds(), { description: 'What it does: docs/contracts/workflow.md.' }),
      for_each: optional(
        Type.Union([Type.Array(Type.Unknown(), { maxItems: 10_000 }), expression('')], {
          description:
            'One node for each element of this list; expressions know it as `item` and its place as `index`.',
        }),
      ),
      with: optional(Type.Record(Type.String(), Type.Unknown(), { description: 'The fields of the kind.' })),
      depends_on: optional(Type.Array(Dependency, { maxItems: MAX_STEPS })),
      when: optional(
        Type.Union([Type.Boolean(), expression('')], {
          description: 'False: the node is left out, and whatever depends on it goes on.',
        }),
      ),
      retry: optional(Retry),
      timeout: optional(
        setting(Type.Number({ exclusiveMinimum: 0, maximum: 31_536_000 }), 'Seconds that one try may take.'),
      ),
      on_failure: optional(
        Type.Enum(['fail', 'continue', 'rollback'], {
          default: 'rollback',
          description:
            'fail: the workflow fails. continue: only what depends on it is left out. rollback: it fails and what is done is undone.',
        }),
      ),
      priority: optional(
        setting(
          Type.Integer({ minimum: -1_000, maximum: 1_000 }),
          'Of nodes that are ready, the greater one starts first. Default 0.',
        ),
      ),
      parallel_limit: optional(
        setting(Type.Integer({ minimum: 1, maximum: MAX_PARALLEL }), 'Nodes of this step at once.'),
      ),
    },
    closed,
  );

/** What parameters may say of themselves: JSON Schema (draft-07) without references. */
const ParameterSchema = Type.Object(
  {
    type: Type.Literal('object'),
    properties: optional(
      Type.Record(Type.String({ pattern: NAME }), Type.Object({}, { additionalProperties: true }), closed),
    ),
    required: optional(Type.Array(Type.String(), { maxItems: 200 })),
    additionalProperties: optional(Type.Literal(false)),
  },
  closed,
);

const Secret = Type.Object(
  {
    pattern: optional(
      Type.String({
        minLength: 1,
        maxLength: 500,
        default: DEFAULT_PATTERN,
        description: 'Characters and classes of them, such as [a-z0-9]{6}\\.[a-z0-9]{16}.',
      }),
    ),
  },
  { ...closed, description: 'Generated for each run, and kept encrypted.' },
);

export const definitionSchema = () =>
  Type.Object(
    {
      name: optional(Type.String({ pattern: TYPE_NAME, description: 'The type: the name of its file.' })),
      summary: optional(Type.String({ maxLength: 500 })),
      parameters: optional(ParameterSchema),
      operations: Type.Union([
        Type.Array(stepSchema(), { minItems: 1, maxItems: MAX_STEPS }),
        expression('A list of steps.'),
      ]),
      secrets: optional(
        Type.Record(Type.String({ pattern: NAME }), Secret, {
          ...closed,
          maxProperties: 50,
          description: 'What `secrets.<name>` stands for, in the config of a taskserv or the environment of a command.',
        }),
      ),
      outputs: optional(Type.Record(Type.String(), Type.Unknown(), { description: 'The result of the workflow.' })),
      parallel_limit: optional(
        setting(Type.Integer({ minimum: 1, maximum: MAX_PARALLEL }), 'Nodes at once. Default 100.'),
      ),
      rollback: optional(
        Type.Object(
          {
            enabled: optional(setting(Type.Boolean(), 'Default true.')),
            preserve_successful: optional(
              setting(Type.Boolean(), 'True: a rollback after a failure keeps what completed. Default false.'),
            ),
            max_attempts: optional(
              setting(Type.Integer({ minimum: 1, maximum: 100 }), 'Tries of undoing one node. Default 5.'),
            ),
          },
          closed,
        ),
      ),
    },
    {
      ...closed,
      title: 'Workflow definition',
      description: 'A graph of operations. The rules: docs/contracts/workflow.md.',
    },
  );
export type DefinitionFields = Static<ReturnType<typeof definitionSchema>>;
export type StepFields = Static<ReturnType<typeof stepSchema>>;

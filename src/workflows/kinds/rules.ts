/**
 * What can be said of each kind of node before anything runs: its fields, the permission it needs, and what its
 * fields are filled with where the definition is silent. Pure; src/workflows/kinds/registry.ts carries them out.
 */
import { Type } from 'typebox';
import type { JsonObject } from '../../documents/json.ts';
import type { OperationKind } from '../../operations/define.ts';
import type { NodeKind } from '../../operations/node.ts';
import { SERVER_OPERATIONS } from '../../servers/operations.ts';
import { TASKSERV_OPERATIONS } from '../../taskservs/operations.ts';
import { CreateTaskserv } from '../../taskservs/schemas.ts';

/** What is known of a kind without running it. */
type KindRules = Pick<NodeKind, 'with' | 'permission' | 'defaults' | 'unique' | 'target' | 'question'>;

const closed = { additionalProperties: false } as const;
const text = (maxLength: number, description: string) => Type.String({ minLength: 1, maxLength, description });
const seconds = (description: string, maximum = 31_536_000) => Type.Number({ minimum: 0, maximum, description });

const { name: taskservName, servers, config } = CreateTaskserv.properties;
const check = {
  every: Type.Optional(
    Type.Number({ minimum: 0.1, maximum: 3_600, default: 2, description: 'Seconds between two tries.' }),
  ),
  within: Type.Optional(
    Type.Number({ minimum: 0.1, maximum: 86_400, default: 300, description: 'Seconds after which it fails.' }),
  ),
};

/** The kinds that an operation brings along as nodes, by name. */
export function nodesOf<Tools>(operations: readonly OperationKind<Tools>[]): [string, NodeKind][] {
  return operations.flatMap(({ kind, node }) => (node === undefined ? [] : [[kind, node]]));
}

const OWN_RULES: Record<string, KindRules> = {
  'taskserv.create': {
    with: Type.Object({ name: taskservName, servers, config }, closed),
    permission: 'taskserv_create',
    target: { what: 'server', permission: 'server_update', field: 'servers' },
  },
  command: {
    with: Type.Object(
      {
        servers,
        script: text(65_536, 'POSIX shell, run as root on each server. It is stored: secrets go through `env`.'),
        env: Type.Optional(
          Type.Record(
            Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$' }),
            Type.Union([Type.String({ maxLength: 4_096 }), Type.Object({ $secret: Type.Unknown() }, closed)]),
            { description: 'Environment of the script: texts, and secrets (`${{ secrets.<name> }}`).' },
          ),
        ),
        timeout: Type.Optional(seconds('Seconds that it may take on a server. Default 600.', 86_400)),
        undo_script: Type.Optional(text(65_536, 'Run on the same servers to undo it.')),
      },
      closed,
    ),
    permission: 'server_update',
    target: { what: 'server', permission: 'server_update', field: 'servers' },
  },
  workflow: {
    with: Type.Object(
      {
        workflow_type: text(63, 'A type that GET /v1/workflow-types lists.'),
        parameters: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
      },
      closed,
    ),
    permission: 'workflow_submit',
  },
  approval: {
    with: Type.Object({ message: Type.Optional(text(1_000, 'What is to be approved.')) }, closed),
    permission: null,
  },
  wait: {
    with: Type.Union([
      Type.Object({ seconds: seconds('How long.') }, closed),
      Type.Object(
        {
          http: text(2_048, 'URL that must answer.'),
          status: Type.Optional(
            Type.Integer({ minimum: 100, maximum: 599, description: 'Default: any from 200 to 299.' }),
          ),
          ...check,
        },
        closed,
      ),
      Type.Object(
        {
          tcp: Type.String({
            maxLength: 300,
            pattern: '^.+:\\d{1,5}$',
            description: 'host:port that must accept a connection.',
          }),
          ...check,
        },
        closed,
      ),
    ]),
    permission: null,
  },
};

const RULES: ReadonlyMap<string, KindRules> = new Map([
  ...nodesOf(SERVER_OPERATIONS),
  ...nodesOf(TASKSERV_OPERATIONS),
  ...Object.entries(OWN_RULES),
]);

/** Name of a kind, such as `server.create`. */
export type Kind = string;
export const KINDS: readonly Kind[] = [...RULES.keys()];

/** @throws where there is no such kind: definitions were checked for that. */
export function rulesOf(kind: Kind): KindRules {
  const rules = RULES.get(kind);
  if (rules === undefined) throw new Error(`There is no kind of node "${kind}".`);
  return rules;
}

/** `given` with the fields that it leaves to the workspace. */
export function withDefaults(kind: Kind, given: JsonObject, defaults: JsonObject): JsonObject {
  const made = { ...given };
  for (const name of rulesOf(kind).defaults ?? []) {
    const value = defaults[name];
    if (made[name] === undefined && value !== undefined) made[name] = value;
  }
  return made;
}

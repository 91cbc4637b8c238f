/**
 * What can be said of each kind of node before anything runs: its fields, the permission it needs, and what its
 * fields are filled with where the definition is silent. Pure; src/workflows/kinds/registry.ts carries them out.
 */
import { type TSchema, Type } from 'typebox';
import type { Permission } from '../../auth/permissions.ts';
import { CreateServer } from '../../servers/schemas.ts';
import { CreateTaskserv } from '../../taskservs/schemas.ts';
import type { JsonObject } from '../json.ts';

/** What is known of a kind without running it. */
export interface KindRules {
  /** Schema of `with`. */
  with: TSchema;
  /** What the submitter must be permitted to do in the workspace; null: nothing beyond submitting workflows. */
  permission: Permission | null;
  /** Fields that the workspace's defaults fill in. */
  defaults?: readonly ('provider' | 'plan' | 'zone')[];
  /** Two nodes of one workflow must not have the same value here. */
  unique?: string;
}

const closed = { additionalProperties: false } as const;
const text = (maxLength: number, description: string) => Type.String({ minLength: 1, maxLength, description });
const seconds = (description: string, maximum = 31_536_000) => Type.Number({ minimum: 0, maximum, description });

const { name: taskservName, servers, config } = CreateTaskserv.properties;
const { provider, plan, hostname, zone, tags } = CreateServer.properties;
const aServer = Type.Object({ server: text(253, 'Id or hostname of a server of the workspace.') }, closed);
const check = {
  every: Type.Optional(
    Type.Number({ minimum: 0.1, maximum: 3_600, default: 2, description: 'Seconds between two tries.' }),
  ),
  within: Type.Optional(
    Type.Number({ minimum: 0.1, maximum: 86_400, default: 300, description: 'Seconds after which it fails.' }),
  ),
};

export const KIND_RULES = {
  'server.create': {
    with: Type.Object({ hostname, provider, plan, zone, tags }, closed),
    permission: 'server_create',
    defaults: ['provider', 'plan', 'zone'],
    unique: 'hostname',
  },
  'server.delete': {
    with: Type.Object({ ...aServer.properties, force: Type.Optional(Type.Boolean({ default: false })) }, closed),
    permission: 'server_delete',
  },
  'server.start': { with: aServer, permission: 'server_update' },
  'server.stop': { with: aServer, permission: 'server_update' },
  'server.restart': { with: aServer, permission: 'server_update' },
  'taskserv.create': {
    with: Type.Object({ name: taskservName, servers, config }, closed),
    permission: 'taskserv_create',
  },
  'taskserv.delete': {
    with: Type.Object(
      {
        taskserv: text(63, 'Id of a taskserv, or its name where the workspace has one of that name.'),
        force: Type.Optional(Type.Boolean({ default: false })),
      },
      closed,
    ),
    permission: 'taskserv_delete',
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
} as const satisfies Record<string, KindRules>;

export type Kind = keyof typeof KIND_RULES;
export const KINDS = Object.keys(KIND_RULES) as Kind[];

export function rulesOf(kind: Kind): KindRules {
  return KIND_RULES[kind];
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

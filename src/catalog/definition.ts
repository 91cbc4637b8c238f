/** What a taskserv definition is, and the schema that its taskserv.yaml must meet (docs/contracts/taskserv.md). */
import { type Static, Type } from 'typebox';
import { createOwnAjv } from '../documents/schemas.ts';
import { atFirstUse } from '../util/at-first-use.ts';

/** A taskserv's name; also a directory's name, a file's name on hosts, a part of labels. */
export const NAME_PATTERN = '^[a-z][a-z0-9-]{0,62}$';
/** A property becomes an environment variable and a JSON key. */
const PROPERTY_PATTERN = '^[a-z][a-z0-9_]{0,62}$';
/** What an apt version, a release or a channel may look like; it reaches shell scripts and URLs. */
const VERSION_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._+~:-]{0,63}$';
const PLATFORMS = ['debian-12', 'ubuntu-22.04', 'ubuntu-24.04'];
/** Seconds. A step of a procedure has a deadline of its own; an install that needs longer is broken. */
const MAX_TIMEOUT = 3_600;

const closed = { additionalProperties: false };
const name = Type.String({ pattern: NAME_PATTERN });
const count = Type.Integer({ minimum: 0 });
const type = Type.Union([
  Type.Literal('string'),
  Type.Literal('integer'),
  Type.Literal('number'),
  Type.Literal('boolean'),
  Type.Literal('array'),
  Type.Literal('object'),
]);

/** The keywords of JSON Schema that a config property may use, and those of our own. */
const ConfigPropertySchema = Type.Object(
  {
    type,
    description: Type.Optional(Type.String({ maxLength: 500 })),
    default: Type.Optional(Type.Unknown()),
    enum: Type.Optional(Type.Array(Type.Unknown(), { minItems: 1, maxItems: 200 })),
    minimum: Type.Optional(Type.Number()),
    maximum: Type.Optional(Type.Number()),
    minLength: Type.Optional(count),
    maxLength: Type.Optional(count),
    pattern: Type.Optional(Type.String({ maxLength: 500, format: 'regex' })),
    items: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    minItems: Type.Optional(count),
    maxItems: Type.Optional(count),
    uniqueItems: Type.Optional(Type.Boolean()),
    properties: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    additionalProperties: Type.Optional(Type.Union([Type.Boolean(), Type.Record(Type.String(), Type.Unknown())])),
    /** Encrypted at rest, never in logs, events, argument vectors or answers. */
    secret: Type.Optional(Type.Boolean()),
    /** Chooses code that runs on the host: another value than the default takes `taskserv_privileged`. */
    privileged: Type.Optional(Type.Boolean()),
    /** Must be given; there is no default. */
    required: Type.Optional(Type.Boolean()),
    /** What is generated for a secret that a request leaves out, as `[a-z0-9]{32}`; it then stays with the taskserv. */
    generate: Type.Optional(Type.String({ minLength: 1, maxLength: 500 })),
    /** A string that may hold line breaks. Any other may not, for it ends up in a line of a configuration file. */
    multiline: Type.Optional(Type.Boolean()),
  },
  closed,
);

/** One value of a taskserv's config: JSON Schema with `secret`, `privileged`, `generate`, `required` and `multiline`. */
export type ConfigProperty = Static<typeof ConfigPropertySchema>;

/** A property without the keywords of our own. */
export function schemaOf(property: ConfigProperty): object {
  const { secret: _s, privileged: _p, required: _r, multiline: _m, generate: _g, ...schema } = property;
  return schema;
}

const property = Type.String({ pattern: PROPERTY_PATTERN });

/** How the servers of one taskserv make one service. Rules T17 to T24 of docs/contracts/taskserv.md. */
const ClusterSchema = Type.Object(
  {
    /** In the order in which they are filled and installed; the first server has the first role and leads. */
    roles: Type.Array(
      Type.Object(
        {
          name,
          /** How many servers have it: a number, or the integer of the config that says it. The last role takes the rest. */
          count: Type.Optional(Type.Union([Type.Integer({ minimum: 1, maximum: 1_000 }), property])),
          /** Servers of this role that are changed at once; after a failure no further one is begun. Absent: all. */
          at_once: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })),
        },
        closed,
      ),
      { minItems: 1, maxItems: 5 },
    ),
    /** `fixed`: the first server leads for good and cannot leave. `any`: another one of its role takes its place. */
    leader: Type.Optional(Type.Union([Type.Literal('any'), Type.Literal('fixed')])),
    /** Setting that holds the service's address. While it has its default, all reach it by the first server, which stays. */
    shared_address: Type.Optional(property),
    /** The configuration names the members: all of them are installed again when one joins or leaves. */
    follows_members: Type.Optional(Type.Boolean()),
    /** Settings of the config by which servers are set up each by itself, once one of them differs from its default. */
    unless: Type.Optional(Type.Array(property, { maxItems: 20, uniqueItems: true })),
  },
  closed,
);

const timeout = Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_TIMEOUT }));

/** The form of taskserv.yaml. `npm run generate` publishes it as docs/contracts/taskserv.schema.json. */
export const DefinitionFileSchema = Type.Object(
  {
    name,
    summary: Type.String({ minLength: 1, maxLength: 200 }),
    versions: Type.Object(
      {
        default: Type.String({ pattern: VERSION_PATTERN }),
        supported: Type.Array(Type.String({ pattern: VERSION_PATTERN }), {
          minItems: 1,
          maxItems: 100,
          uniqueItems: true,
        }),
        /** `next-minor`: a change goes to the same or the next minor version, never back. Absent: from any to any. */
        upgrade: Type.Optional(Type.Union([Type.Literal('any'), Type.Literal('next-minor')])),
      },
      closed,
    ),
    requires: Type.Optional(
      Type.Array(
        Type.Union([
          name,
          Type.Object({ name, type: Type.Union([Type.Literal('hard'), Type.Literal('soft')]) }, closed),
        ]),
        { maxItems: 50 },
      ),
    ),
    conflicts: Type.Optional(Type.Array(name, { maxItems: 50, uniqueItems: true })),
    platforms: Type.Array(Type.String({ enum: PLATFORMS }), {
      minItems: 1,
      uniqueItems: true,
    }),
    config: Type.Optional(Type.Record(Type.String({ pattern: PROPERTY_PATTERN }), ConfigPropertySchema, closed)),
    timeouts: Type.Optional(
      Type.Object(
        { install: timeout, check: timeout, remove: timeout, admit: timeout, drain: timeout, resume: timeout },
        closed,
      ),
    ),
    cluster: Type.Optional(ClusterSchema),
    ports: Type.Optional(Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }), { maxItems: 100 })),
  },
  closed,
);

/** taskserv.yaml, as it is written. */
export type DefinitionFile = Static<typeof DefinitionFileSchema>;

/** How many servers have a role: `count` null takes the rest; a text names the integer of the config that says it. */
interface ClusterRole {
  name: string;
  count: number | string | null;
  /** Servers of the role that are changed at once; null: all. */
  at_once: number | null;
}

/** How the servers of one taskserv make one service. */
export interface ClusterDefinition {
  roles: ClusterRole[];
  leader: 'any' | 'fixed';
  shared_address: string | null;
  follows_members: boolean;
  unless: string[];
}

/** What runs on a host for that host itself, and what runs on the leader of a cluster for another member. */
type ScriptName = 'install' | 'check' | 'remove' | PeerScriptName;
export type PeerScriptName = 'admit' | 'drain' | 'resume';
/** `kubeconfig` makes one for a caller of the API, on a host of the first role. */
export type OptionalScriptName = PeerScriptName | 'kubeconfig';

/** A taskserv that can be installed: its taskserv.yaml with everything optional filled in, and its scripts. */
export interface TaskservDefinition {
  name: string;
  summary: string;
  source: 'built-in' | 'workspace';
  versions: { default: string; supported: string[]; upgrade: 'any' | 'next-minor' };
  /** `hard` ones are installed first on the same hosts; `soft` ones only go first where they are installed as well. */
  requires: { name: string; type: 'hard' | 'soft' }[];
  /** Taskservs that cannot be on the same host. */
  conflicts: string[];
  /** As `<ID>-<VERSION_ID>` of the host's os-release. */
  platforms: string[];
  config: Record<string, ConfigProperty>;
  /** Seconds. */
  timeouts: Record<ScriptName, number>;
  /** TCP or UDP ports that it listens on when its config says nothing else. */
  ports: number[];
  /** Null: each server has a service of its own. */
  cluster: ClusterDefinition | null;
  /** Whole programs for a POSIX shell, the shared library included. They read nothing from standard input. */
  scripts: { install: string; check: string; remove: string } & Partial<Record<OptionalScriptName, string>>;
}

/** Seconds, for a definition that does not say. */
export const DEFAULT_TIMEOUTS = { install: 600, check: 30, remove: 300, admit: 120, drain: 600, resume: 120 };

/** The form of a parsed taskserv.yaml, and what is wrong with it where. */
export const formOfDefinitionFiles = atFirstUse(() => {
  const ajv = createOwnAjv();
  ajv.addFormat('regex', (text: string) => {
    try {
      new RegExp(text, 'u');
      return true;
    } catch {
      return false;
    }
  });
  return ajv.compile<DefinitionFile>(DefinitionFileSchema);
});

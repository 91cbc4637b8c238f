import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import { createdFilters } from '../http/created-filters.ts';
import { filter, type ListDefinition, listQuerySchema } from '../http/list.ts';

/** What a workspace may be called. */
export const WORKSPACE_NAME_PATTERN = '^[a-z0-9][a-z0-9-]{0,62}$';
const WorkspaceName = Type.String({
  pattern: WORKSPACE_NAME_PATTERN,
  description: 'At most 63 lower-case letters, digits and hyphens, a letter or digit first.',
});

const most = (description: string) =>
  Type.Union([Type.Number({ minimum: 0, maximum: 1e12 }), Type.Null()], { description });
const limitFields = {
  servers: most('Servers, those in the making and existing machines included.'),
  cpus: most('Virtual processors of their plans.'),
  memory: most('Memory of their plans, in GiB.'),
  monthly_cost: most(
    'What they cost a month at most, in what their providers bill in. A cloud that tells no price is refused.',
  ),
};
const closed = { additionalProperties: false } as const;

export const WorkspaceSchema = Type.Object(
  {
    name: WorkspaceName,
    path: Type.String({ description: 'Directory of its files, inside one of the workspace roots.' }),
    active: Type.Boolean({ description: 'True for the one workspace that clients use when none is given.' }),
    last_used: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
      description: 'Accurate to the minute.',
    }),
    limits: Type.Optional(
      Type.Object(limitFields, {
        ...closed,
        description: 'Limits on the number, size and cost of its servers. Absent: no limits.',
      }),
    ),
  },
  { title: 'Workspace', additionalProperties: false },
);

const FIELDS = `'name', name, 'path', path, 'active', active,
  'last_used', to_char(last_used at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;
const LIMITS = `'servers', limits -> 'servers', 'cpus', limits -> 'cpus', 'memory', limits -> 'memory',
  'monthly_cost', limits -> 'monthly_cost'`;

/** The row as clients see it, as JSON text. */
export const WORKSPACE_JSON = sql.raw<string>(`(case when limits = '{}' then json_build_object(${FIELDS})
  else json_build_object(${FIELDS}, 'limits', json_build_object(${LIMITS})) end)::text`);

export const workspaceList: ListDefinition = {
  table: 'provisioning.workspaces',
  json: WORKSPACE_JSON,
  id: 'name',
  idType: 'text',
  filters: {
    // A name that cannot be simply matches nothing; NUL is what Postgres would refuse.
    name: filter<string>(Type.String({ maxLength: 255, pattern: '^[^\\u0000]*$' }), (name) => sql`name = ${name}`),
    ...createdFilters(),
  },
  sorts: { created_at: { column: 'created_at', type: 'timestamptz' }, name: { column: 'name', type: 'text' } },
  defaultSort: 'created_at',
};

export const listWorkspacesQuery = listQuerySchema(workspaceList);

/** Any text: what is no name is an unknown workspace (404). */
export const workspaceParams = Type.Object({ name: Type.String({ description: 'Name of the workspace.' }) });

export const createWorkspaceBody = Type.Object(
  {
    name: WorkspaceName,
    path: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 1024,
        description: 'Absolute, inside one of the workspace roots after resolving links. Default: <first root>/<name>.',
      }),
    ),
    activate: Type.Optional(Type.Boolean({ default: false, description: 'Make it the active workspace.' })),
  },
  { additionalProperties: false },
);

export const changeWorkspaceBody = Type.Object(
  {
    limits: Type.Object(
      { ...Type.Partial(Type.Object(limitFields)).properties },
      { ...closed, minProperties: 1, description: 'Limits that are left out stay unchanged; null removes a limit.' },
    ),
  },
  closed,
);
export type ChangeWorkspace = Static<typeof changeWorkspaceBody>;

/** May be absent. */
export const deleteWorkspaceBody = Type.Unsafe<{ name?: string } | null | undefined>({
  type: ['object', 'null'],
  properties: { name: { type: 'string', description: 'Optional. Must be the name in the path.' } },
  additionalProperties: false,
});

export const DeletedWorkspaceSchema = Type.Object(
  { deleted: Type.Literal(true), ...WorkspaceSchema.properties },
  { additionalProperties: false },
);

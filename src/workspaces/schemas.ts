import { sql } from 'kysely';
import { Type } from 'typebox';
import { createdFilters } from '../http/created-filters.ts';
import { filter, type ListDefinition, listQuerySchema } from '../http/list.ts';

/** What a workspace may be called. */
export const WORKSPACE_NAME_PATTERN = '^[a-z0-9][a-z0-9-]{0,62}$';
const WorkspaceName = Type.String({
  pattern: WORKSPACE_NAME_PATTERN,
  description: 'At most 63 lower-case letters, digits and hyphens, a letter or digit first.',
});

export const WorkspaceSchema = Type.Object(
  {
    name: WorkspaceName,
    path: Type.String({ description: 'Directory of its files, inside one of the workspace roots.' }),
    active: Type.Boolean({ description: 'The one workspace that clients use where none is named.' }),
    last_used: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], { description: 'To the minute.' }),
  },
  { title: 'Workspace', additionalProperties: false },
);

/** The row as clients see it, as JSON text. */
export const WORKSPACE_JSON = sql.raw<string>(`json_build_object(
  'name', name, 'path', path, 'active', active,
  'last_used', to_char(last_used at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))::text`);

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
    activate: Type.Optional(Type.Boolean({ default: false, description: 'Makes it the active workspace.' })),
  },
  { additionalProperties: false },
);

/** May be absent. */
export const deleteWorkspaceBody = Type.Unsafe<{ name?: string } | null | undefined>({
  type: ['object', 'null'],
  properties: { name: { type: 'string', description: 'The name again. One that contradicts the path is refused.' } },
  additionalProperties: false,
});

export const DeletedWorkspaceSchema = Type.Object(
  { deleted: Type.Literal(true), ...WorkspaceSchema.properties },
  { additionalProperties: false },
);

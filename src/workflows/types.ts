import type { Principal } from '../access/permissions.ts';
import { errors } from '../errors.ts';
import type { Services } from '../http/section.ts';
import { requireWorkspace, workspaceDirectory } from '../workspaces/service.ts';
import { type WorkflowType, workflowTypes } from './catalog.ts';

/** A type as clients see it. */
function view({ name, origin, loaded }: WorkflowType) {
  return {
    name,
    summary: loaded.definition?.fields.summary ?? null,
    origin,
    parameters: loaded.definition?.fields.parameters ?? { type: 'object', properties: {} },
    problems: loaded.problems.map(({ path: _, ...problem }) => problem),
  };
}

async function typesFor(services: Services, principal: Principal, workspace: string | undefined) {
  if (workspace === undefined) return workflowTypes(null);
  await requireWorkspace(services.db, principal, 'workflow_read', workspace);
  return workflowTypes(await workspaceDirectory(services.db, workspace));
}

/** The built-in types, and with a workspace those of its own. @throws 400 for a workspace the caller cannot see. */
export async function listTypes(services: Services, principal: Principal, workspace: string | undefined) {
  return [...(await typesFor(services, principal, workspace)).values()].map(view);
}

/** One type with its YAML. @throws 404. */
export async function getType(services: Services, principal: Principal, workspace: string | undefined, name: string) {
  const type = (await typesFor(services, principal, workspace)).get(name);
  if (type === undefined) throw errors.notFound('workflow type', name);
  const text = type.loaded.definition?.text;
  return { ...view(type), ...(typeof text === 'string' ? { definition: text } : {}) };
}

import { isPermitted, type Permission, type Principal } from '../access/permissions.ts';
import type { Json, JsonObject } from '../documents/json.ts';
import { createProblems, throwProblems } from '../documents/problems.ts';
import { errors } from '../errors.ts';
import type { Services } from '../http/section.ts';
import { nearMatches } from '../util/near-matches.ts';
import { requireWorkspace, workspaceDirectory } from '../workspaces/service.ts';
import { readWorkspaceSettings, type WorkspaceSettings } from '../workspaces/settings.ts';
import { type WorkflowType, workflowTypes } from './catalog.ts';
import { type Definition, loadDefinition, loadSnapshot, placeOf } from './definition/definition.ts';
import { checkOutside } from './kinds/outside-check.ts';
import type { Plan } from './planning/contract.ts';
import { planWorkflow } from './planning/plan.ts';
import { serversForExpressions, taskservsForExpressions } from './store.ts';

/** What a workflow is made from: a type, or a definition's text. */
export interface WorkflowRequest {
  workspace: string;
  workflow_type?: string;
  parameters?: Record<string, unknown>;
  definition?: string;
}

/** A workflow that may start: everything that can be said against it has been. */
export interface PreparedWorkflow {
  /** Null: from a definition's text without a name. */
  type: string | null;
  definition: Definition;
  plan: Plan;
  settings: WorkspaceSettings;
}

/**
 * Checks a workflow as far as it can be before anything starts: its definition, its parameters, its graph, what its
 * nodes ask for, and whether the caller may do all of it.
 * @throws 400 with every problem and its place, 403 naming the first step that asks for too much.
 */
export async function prepareWorkflow(
  services: Services,
  principal: Principal,
  request: WorkflowRequest,
): Promise<PreparedWorkflow> {
  const { db } = services;
  await requireWorkspace(db, principal, 'workflow_submit', request.workspace);
  const directory = await workspaceDirectory(db, request.workspace);
  const settings = directory === null ? {} : await readWorkspaceSettings(directory);
  const types = await workflowTypes(directory);
  const definition =
    request.definition === undefined ? ofType(types, request.workflow_type ?? '') : ofText(request.definition);
  const usable = new Map(
    [...types].flatMap(([name, { loaded }]) => (loaded.definition === null ? [] : [[name, loaded.definition]])),
  );
  const { plan, problems } = planWorkflow({
    definition,
    parameters: (request.parameters ?? {}) as JsonObject,
    workspace: { name: request.workspace, defaults: defaultsOf(settings) },
    ...(await standing(services, principal, request.workspace, (name) => mentions(name, definition, request, usable))),
    type: (name) => usable.get(name),
    typeNames: [...types.keys()],
  });
  if (plan === null) {
    throwProblems(problems);
    throw new Error('a workflow that cannot be planned has no problem');
  }
  requirePermissions(principal, request.workspace, definition, plan);
  await checkOutside(services, principal, request.workspace, definition, plan);
  return {
    type: request.definition === undefined ? (request.workflow_type ?? null) : definition.name,
    definition,
    plan,
    settings,
  };
}

const loadedSnapshots = new WeakMap<object, Map<string, Definition>>();

/** The definitions that a run keeps, read once for all of its nodes. */
function snapshots(nested: { [type: string]: JsonObject }): Map<string, Definition> {
  const known = loadedSnapshots.get(nested);
  if (known !== undefined) return known;
  const loaded = new Map(Object.entries(nested).map(([name, fields]) => [name, loadSnapshot(fields, name)]));
  loadedSnapshots.set(nested, loaded);
  return loaded;
}

/** A workflow that another one runs: from the definitions that the outer run keeps, not from files edited since. */
export async function prepareNested(
  services: Services,
  principal: Principal,
  nested: {
    workspace: string;
    type: string;
    parameters: JsonObject;
    nested: { [type: string]: JsonObject };
    settings: JsonObject;
  },
): Promise<PreparedWorkflow> {
  const { workspace, parameters, settings } = nested;
  const types = snapshots(nested.nested);
  const definition = types.get(nested.type);
  if (definition === undefined) throw errors.notFound('workflow type', nested.type);
  const { plan, problems } = planWorkflow({
    definition,
    parameters,
    workspace: { name: workspace, defaults: defaultsOf(settings) },
    ...(await standing(services, principal, workspace, () => true)),
    type: (name) => types.get(name),
    typeNames: [...types.keys()],
  });
  if (plan === null) {
    throwProblems(problems);
    throw new Error('a workflow that cannot be planned has no problem');
  }
  requirePermissions(principal, workspace, definition, plan);
  return { type: nested.type, definition, plan, settings };
}

/** @throws 403 naming the first step that asks for what the caller may not do. */
function requirePermissions(principal: Principal, workspace: string, definition: Definition, plan: Plan): void {
  for (const { permission, path } of plan.permissions) {
    if (isPermitted(principal, permission, workspace)) continue;
    const problem = createProblems((at) => placeOf(definition, at));
    problem.add(path, '');
    const [{ field, line } = { field: '', line: undefined }] = problem.list;
    throw errors.forbiddenStep(permission, workspace, line === undefined ? field : `${field} (line ${line})`);
  }
}

function ofType(types: ReadonlyMap<string, WorkflowType>, name: string): Definition {
  const type = types.get(name);
  if (type === undefined) {
    const names = [...types.keys()];
    const near = nearMatches(name, names);
    throw errors.validation([
      {
        field: 'workflow_type',
        message: `there is no workflow type "${name}"; there are: ${names.join(', ')}`,
        near_matches: near.length > 0 ? near : names,
      },
    ]);
  }
  if (type.loaded.definition === null) {
    throwProblems(
      type.loaded.problems.map((problem) => ({
        ...problem,
        message: `${problem.message} in the definition of "${name}"`,
      })),
    );
    throw new Error(`the definition of ${name} is neither usable nor wrong`);
  }
  return type.loaded.definition;
}

function ofText(text: string): Definition {
  const loaded = loadDefinition(text, null);
  if (loaded.definition !== null) return loaded.definition;
  throwProblems(loaded.problems);
  throw new Error('a definition is neither usable nor wrong');
}

/** What the workspace gives where a workflow is silent: single values, by name. */
function defaultsOf(settings: WorkspaceSettings): JsonObject {
  return Object.fromEntries(
    Object.entries(settings).filter((entry): entry is [string, string | number | boolean] =>
      ['string', 'number', 'boolean'].includes(typeof entry[1]),
    ),
  );
}

/** What stands in the workspace, as far as the caller may read it and the workflow asks for it. */
async function standing(
  { db }: Pick<Services, 'db'>,
  principal: Principal,
  workspace: string,
  asksFor: (name: 'servers' | 'taskservs') => boolean,
): Promise<{ servers: Json[]; taskservs: Json[] }> {
  const may = (permission: Permission) => isPermitted(principal, permission, workspace);
  return {
    servers: asksFor('servers') && may('server_read') ? await serversForExpressions(db, workspace) : [],
    taskservs: asksFor('taskservs') && may('taskserv_read') ? await taskservsForExpressions(db, workspace) : [],
  };
}

/** Reading thousands of servers is for those that ask for them. */
function mentions(
  name: string,
  definition: Definition,
  request: WorkflowRequest,
  types: ReadonlyMap<string, Definition>,
): boolean {
  const texts = [
    definition,
    ...(JSON.stringify(definition.fields).includes('"workflow"') || definition.name === 'batch' ? types.values() : []),
  ];
  return JSON.stringify([texts.map(({ fields }) => fields), request.parameters ?? {}]).includes(name);
}

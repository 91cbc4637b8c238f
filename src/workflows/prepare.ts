import { isPermitted, type Permission, type Principal } from '../access/permissions.ts';
import type { Json, JsonObject } from '../documents/json.ts';
import { throwProblems } from '../documents/problems.ts';
import { errors } from '../errors.ts';
import { type Budget, requestBudget } from '../evaluation/pool.ts';
import type { Services } from '../http/section.ts';
import { nearMatches } from '../util/near-matches.ts';
import { databaseSecrets } from '../workspaces/secret-source.ts';
import { requireUsable } from '../workspaces/secrets.ts';
import { secretKeys } from '../workspaces/secrets-store.ts';
import { requireWorkspace, workspaceDirectory } from '../workspaces/service.ts';
import { readWorkspaceSettings, type WorkspaceSettings } from '../workspaces/settings.ts';
import { type WorkflowType, workflowTypes } from './catalog.ts';
import type { DefinitionData } from './definition/definition.ts';
import { jsonOf, loadDefinition, placedProblems, planWorkflow } from './evaluation.ts';
import { checkOutside } from './kinds/outside-check.ts';
import type { Plan, Planned } from './planning/contract.ts';
import { secretFieldsIn } from './secrets/fields.ts';
import { type Given, type Replanning, type Sources, sealGiven } from './secrets/given.ts';
import { takesSecrets } from './secrets/places.ts';
import { serversForExpressions, taskservsForExpressions } from './store.ts';

/** What a workflow is made from: a type, or a definition's text. */
export interface WorkflowRequest {
  workspace: string;
  workflow_type?: string;
  parameters?: Record<string, unknown>;
  definition?: string;
  /** What references to given secrets in the parameters stand for. */
  given?: Given;
}

/** A workflow that may start: everything that can be said against it has been. */
export interface PreparedWorkflow {
  /** Null: from a definition's text without a name. */
  type: string | null;
  definition: DefinitionData;
  plan: Plan;
  settings: WorkspaceSettings;
  /** The parameters as they were given, with references in the place of secrets. */
  parameters: JsonObject;
  /** Those secrets: never to be stored or told as they are. */
  given: Given;
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
  budget: Budget = requestBudget(principal.userId),
): Promise<PreparedWorkflow> {
  const { db } = services;
  await requireWorkspace(db, principal, 'workflow_submit', request.workspace);
  const directory = await workspaceDirectory(db, request.workspace);
  const settings = directory === null ? {} : await readWorkspaceSettings(directory);
  const types = await workflowTypes(directory);
  const definition =
    request.definition === undefined
      ? ofType(types, request.workflow_type ?? '')
      : await ofText(request.definition, budget);
  const usable = new Map(
    [...types].flatMap(([name, { loaded }]) => (loaded.definition === null ? [] : [[name, loaded.definition]])),
  );
  const sources = { definition, parameters: (request.parameters ?? {}) as JsonObject, types: usable };
  const given = request.given ?? new Map<string, Json>();
  const facts = {
    workspace: { name: request.workspace, defaults: defaultsOf(settings) },
    ...(await standing(services, principal, request.workspace, (name) => mentions(name, definition, request, usable))),
  };
  const replan = planner({ ...facts, workspaceSecrets: await secretKeys(db, request.workspace) });
  const { plan, problems } = await replan(sources, given, budget);
  if (plan === null) {
    throwProblems(problems);
    throw new Error('a workflow that cannot be planned has no problem');
  }
  requireNodes(services, nodeCount({ plan }));
  await requirePermissions(principal, request.workspace, definition, plan, budget);
  await requireSecretsOf(services, principal, request.workspace, plan);
  await checkOutside(services, principal, request.workspace, { definition, plan, given }, budget);
  const where = { name: request.workspace, directory };
  // What a plan costs must not decide whether its secrets are encrypted: each further one has a budget of its own.
  const stored = await withoutSecrets(
    db,
    where,
    sources,
    { plan, given },
    {
      replan,
      budget: () => requestBudget(principal.userId),
    },
  );
  return {
    type: request.definition === undefined ? (request.workflow_type ?? null) : definition.name,
    settings,
    ...stored,
  };
}

/** How many nodes a run makes, those of nested ones included, as far as they are known. */
export function nodeCount({ plan }: Pick<PreparedWorkflow, 'plan'>): number {
  return nodesIn(plan).length;
}

/** @throws 409 where a workflow makes too many nodes. */
export function requireNodes({ limits }: Pick<Services, 'limits'>, used: number): void {
  const allowed = limits.settings.workflow_nodes;
  if (used <= allowed) return;
  throw errors.limitReached(
    `The workflow has ${used} nodes, but at most ${allowed} are allowed (limit workflow_nodes). Split it into several workflows.`,
    { limit: 'workflow_nodes', per: 'workflow', used, allowed },
  );
}

/** @throws 403 for a secret of the workspace that is not the caller's to use. */
async function requireSecretsOf(
  services: Services,
  principal: Principal,
  workspace: string,
  { workspaceSecrets, inner }: Plan,
): Promise<void> {
  const named = workspaceSecrets.map((key) => ({ field: `secrets.workspace.${key}`, key }));
  await requireUsable(databaseSecrets(services.db, services.encryption), principal, workspace, named);
  for (const { plan } of inner) await requireSecretsOf(services, principal, workspace, plan);
}

/** Plans a workflow on what stands in the workspace, from whatever it is made from. */
function planner(
  facts: Omit<Parameters<typeof planWorkflow>[0], 'definition' | 'parameters' | 'given'>,
): (sources: Sources, given: Given, budget: Budget) => Promise<Planned> {
  return ({ definition, parameters, types }, given, budget) =>
    planWorkflow({ definition, parameters, given: Object.fromEntries(given), ...facts }, types, budget);
}

/** The workflow with references in the place of the secrets that it gives. */
async function withoutSecrets(
  db: Services['db'],
  workspace: { name: string; directory: string | null },
  sources: Sources,
  planned: { plan: Plan; given: Given },
  replanning: Replanning,
) {
  if (!takesSecrets(planned.plan)) return { ...sources, ...planned };
  const secretFields = await secretFieldsIn(db, workspace, nodesIn(planned.plan));
  return sealGiven(sources, planned, secretFields, replanning);
}

/** What is known of the fields of all nodes, those of nested workflows included. */
function nodesIn({ nodes, inner }: Plan): JsonObject[] {
  return [...nodes.map(({ known }) => known), ...inner.flatMap(({ plan }) => nodesIn(plan))];
}

/** The definitions that a run keeps. They were checked when it was submitted. */
function snapshots(nested: { [type: string]: JsonObject }): Map<string, DefinitionData> {
  return new Map(
    Object.entries(nested).map(([name, fields]) => [
      name,
      { name, fields: fields as unknown as DefinitionData['fields'], text: null },
    ]),
  );
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
    given: Given;
  },
  budget: Budget,
): Promise<PreparedWorkflow> {
  const { workspace, parameters, settings, given } = nested;
  const types = snapshots(nested.nested);
  const definition = types.get(nested.type);
  if (definition === undefined) throw errors.notFound('workflow type', nested.type);
  const sources = { definition, parameters, types };
  const replan = planner({
    workspace: { name: workspace, defaults: defaultsOf(settings) },
    ...(await standing(services, principal, workspace, () => true)),
    workspaceSecrets: await secretKeys(services.db, workspace),
  });
  const { plan, problems } = await replan(sources, given, budget);
  if (plan === null) {
    throwProblems(problems);
    throw new Error('a workflow that cannot be planned has no problem');
  }
  await requirePermissions(principal, workspace, definition, plan, budget);
  const directory = await workspaceDirectory(services.db, workspace);
  const where = { name: workspace, directory };
  const stored = await withoutSecrets(services.db, where, sources, { plan, given }, { replan, budget: () => budget });
  return { type: nested.type, settings, ...stored };
}

/** @throws 403 naming the first step that asks for what the caller may not do. */
async function requirePermissions(
  principal: Principal,
  workspace: string,
  definition: DefinitionData,
  plan: Plan,
  budget: Budget,
): Promise<void> {
  for (const { permission, path } of plan.permissions) {
    if (isPermitted(principal, permission, workspace)) continue;
    const [{ field, line } = { field: '', line: undefined }] = await placedProblems(
      definition,
      [{ path, message: '' }],
      budget,
    );
    throw errors.forbiddenStep(permission, workspace, line === undefined ? field : `${field} (line ${line})`);
  }
}

function ofType(types: ReadonlyMap<string, WorkflowType>, name: string): DefinitionData {
  const type = types.get(name);
  if (type === undefined) {
    const names = [...types.keys()];
    const near = nearMatches(name, names);
    throw errors.validation([
      {
        field: 'workflow_type',
        message: `there is no workflow type "${name}"; available types: ${names.join(', ')}`,
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

async function ofText(text: string, budget: Budget): Promise<DefinitionData> {
  const loaded = await loadDefinition(text, null, budget);
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
  definition: DefinitionData,
  request: WorkflowRequest,
  types: ReadonlyMap<string, DefinitionData>,
): boolean {
  const own = jsonOf(definition.fields);
  const nests = own.includes('"workflow"') || definition.name === 'batch';
  return (
    own.includes(name) ||
    JSON.stringify(request.parameters ?? {}).includes(name) ||
    (nests && [...types.values()].some(({ fields }) => jsonOf(fields).includes(name)))
  );
}

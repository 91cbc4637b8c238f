import { type Json, type JsonObject, pathText } from '../../documents/json.ts';
import type { Problems } from '../../documents/problems.ts';
import { notePlace } from '../../evaluation/meter.ts';
import { nearMatches } from '../../util/near-matches.ts';
import type { Definition } from '../definition/definition.ts';
import { eachTemplate } from '../expressions/template.ts';
import { plainRulesOf } from '../kinds/plain-rules.ts';
import { secretsForExpressions } from '../secrets/reference.ts';
import type { Plan, PlanInput, Planned } from './contract.ts';
import { addDependencies } from './dependencies.ts';
import { findCycle, shapeOf } from './graph.ts';
import { planNested } from './nested.ts';
import { expandStep } from './nodes.ts';
import { resolveParameters } from './parameters.ts';
import { MAX_NODES, type Room } from './room.ts';
import { stepSettings, workflowSettings } from './settings.ts';
import { resolveSteps, type StepSource } from './steps.ts';

/** Checks and resolves a workflow. Pure: the same input makes the same plan. */
export function planWorkflow(
  input: PlanInput,
  above: readonly string[] = [],
  room: Room = { nodes: MAX_NODES },
): Planned {
  const { definition, workspace } = input;
  notePlace('parameters');
  const parameters = resolveParameters(definition, input.parameters, workspace.defaults, input.given);
  if (parameters.value === null) return { plan: null, problems: parameters.problems };
  const facts: Record<string, Json> = {
    parameters: parameters.value,
    workspace: { name: workspace.name, ...workspace.defaults },
    servers: input.servers,
    taskservs: input.taskservs,
    secrets: secretsForExpressions(Object.keys(definition.fields.secrets ?? {}), input.workspaceSecrets ?? []),
  };
  const resolved = resolveSteps(definition, facts);
  if (resolved.steps === null) return { plan: null, problems: resolved.problems };
  const { steps, problems } = resolved;

  const edges = addDependencies(steps, problems);
  checkOutputs(definition, steps, problems);
  const settings = workflowSettings(definition, facts, problems);
  const cycle = findCycle(
    steps.map(({ fields }) => fields.id),
    edges,
  );
  if (cycle !== null) {
    const from = steps.find(({ fields }) => fields.id === cycle[1]);
    problems.add(
      [...(from?.path ?? ['operations']), 'depends_on'],
      `the steps wait for each other in a circle: ${cycle.join(' → ')}`,
    );
  }
  const plan: Plan = {
    parameters: parameters.value,
    steps: [],
    nodes: [],
    edges,
    outputs: (definition.fields.outputs ?? {}) as JsonObject,
    settings,
    permissions: [],
    workspaceSecrets: [],
    places: new Map(steps.map(({ fields, path }) => [fields.id, path])),
    nested: new Map(),
    inner: [],
    waves: [],
    criticalPath: [],
  };
  for (const source of steps) {
    planStep(plan, source, facts, input, room, problems);
    if (room.nodes < 0) break;
  }
  checkUnique(plan, steps, problems);
  if (problems.list.length === 0)
    planNested(plan, steps, input, above, problems, (nested, path) => planWorkflow(nested, path, room));
  if (problems.list.length > 0) return { plan: null, problems: problems.list };
  const running = new Set(plan.nodes.filter(({ skipped }) => !skipped).map(({ step }) => step));
  const ids = steps.map(({ fields }) => fields.id);
  return {
    plan: { ...plan, ...shapeOf(ids, edges, (id) => running.has(id)) },
    problems: [],
  };
}

function planStep(
  plan: Plan,
  source: StepSource,
  facts: Record<string, Json>,
  input: PlanInput,
  room: Room,
  problems: Problems,
): void {
  const { fields, path } = source;
  notePlace(pathText(path));
  const { permission } = plainRulesOf(fields.kind);
  if (permission !== null) plan.permissions.push({ permission, path: [...path, 'kind'] });
  for (const key of workspaceSecretsIn(source, input.workspaceSecrets ?? [], problems)) {
    if (!plan.workspaceSecrets.includes(key)) plan.workspaceSecrets.push(key);
  }
  const settings = stepSettings(source, facts, problems);
  const { nodes, when } = expandStep(source, facts, input.workspace.defaults, room, problems);
  plan.steps.push({
    id: fields.id,
    kind: fields.kind,
    with: (fields.with ?? {}) as JsonObject,
    when,
    many: fields.for_each !== undefined,
    settings,
  });
  for (const node of nodes) plan.nodes.push(node);
}

/** Keys of secrets of the workspace that a step names; a problem for each that there is not. */
function workspaceSecretsIn({ fields, path }: StepSource, known: readonly string[], problems: Problems): Set<string> {
  const keys = new Set<string>();
  eachTemplate(
    (fields.with ?? {}) as JsonObject,
    [...path, 'with'],
    ({ references }, at) => {
      for (const key of references.workspaceSecrets) {
        keys.add(key);
        if (!known.includes(key)) {
          problems.add(at, `there is no secret "${key}" in this workspace`, nearMatches(key, known));
        }
      }
    },
    () => {},
  );
  return keys;
}

function checkOutputs(definition: Definition, steps: readonly StepSource[], problems: Problems): void {
  const known = steps.map(({ fields }) => fields.id);
  eachTemplate(
    (definition.fields.outputs ?? {}) as JsonObject,
    ['outputs'],
    ({ references }, path) => {
      for (const name of references.operations) {
        if (!known.includes(name)) problems.add(path, `there is no step "${name}"`, known);
      }
    },
    () => {},
  );
}

/** Two nodes that would make the same thing cannot both succeed. */
function checkUnique(plan: Plan, steps: readonly StepSource[], problems: Problems): void {
  const seen = new Map<string, string>();
  const stepOf = new Map(steps.map((step) => [step.fields.id, step]));
  for (const node of plan.nodes) {
    const source = stepOf.get(node.step);
    if (source === undefined || node.skipped || node.with === null) continue;
    const { unique } = plainRulesOf(source.fields.kind);
    if (unique === undefined) continue;
    const value = `${source.fields.kind} ${JSON.stringify(node.with[unique])}`;
    const other = seen.get(value);
    if (other !== undefined) {
      problems.add(
        [...source.path, 'with', unique],
        `${node.key} and ${other} both have ${JSON.stringify(node.with[unique])}`,
      );
    }
    seen.set(value, node.key);
  }
}

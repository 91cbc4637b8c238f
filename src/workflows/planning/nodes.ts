import type { Json, JsonObject, Path } from '../../documents/json.ts';
import { isObject, typeName } from '../../documents/json.ts';
import { createProblems, type Problems } from '../../documents/problems.ts';
import { eachTemplate } from '../expressions/template.ts';
import { checkWith } from '../kinds/check.ts';
import { plainRulesOf, withDefaults } from '../kinds/plain-rules.ts';
import type { PlannedNode } from './contract.ts';
import { MAX_NODES, type Room } from './room.ts';
import { operationsIn, renderStatic } from './static.ts';
import type { StepSource } from './steps.ts';

/** The nodes of a step, as far as they are known before anything runs. */
export function expandStep(
  source: StepSource,
  facts: Record<string, Json>,
  defaults: JsonObject,
  room: Room,
  problems: Problems,
): { nodes: PlannedNode[]; when: string | null } {
  const { fields, path } = source;
  const many = fields.for_each !== undefined;
  if (!many) refuseItem(source, problems);
  const items = many ? itemsOf(source, facts, problems) : [null];
  room.nodes -= items.length;
  if (room.nodes < 0) {
    const at = many ? [...path, 'for_each'] : path;
    problems.add(at, `makes too many nodes: with those before it and of nested workflows more than ${MAX_NODES}`);
    return { nodes: [], when: null };
  }
  const when = fields.when ?? true;
  const whenLater = typeof when === 'string' && operationsIn(when).size > 0;
  const { known, unknown } = splitWith((fields.with ?? {}) as JsonObject);
  const secrets = fieldOfSecrets(source);
  const nodes: PlannedNode[] = [];
  const told = problems.list.length;
  for (const [index, item] of items.entries()) {
    const context = many ? { ...facts, item, index } : facts;
    const skipped = whenLater ? false : !isTrue(when, context, source, problems);
    const node: PlannedNode = {
      key: many ? `${fields.id}[${index}]` : fields.id,
      step: fields.id,
      index,
      item,
      with: null,
      known: {},
      skipped,
    };
    if (!skipped) {
      const rendered = renderStatic(known, context, [...path, 'with'], problems) as JsonObject | undefined;
      if (rendered !== undefined) {
        const complete = withDefaults(fields.kind, rendered, withoutKeys(defaults, unknown));
        checkWith(fields.kind, complete, unknown, [...path, 'with'], problems);
        node.known = complete;
        if (unknown.size === 0) node.with = complete;
      }
    }
    if (secrets !== null && (skipped || unknown.has(secrets.name))) node.parts = partsOf(secrets, context, path);
    nodes.push(node);
    // The rest of the list would only say the same again.
    if (problems.list.length > told) break;
  }
  return { nodes, when: whenLater ? when : null };
}

function isTrue(when: Json, context: Record<string, Json>, { path }: StepSource, problems: Problems): boolean {
  const value = renderStatic(when, context, [...path, 'when'], problems);
  if (typeof value === 'boolean') return value;
  if (value !== undefined) problems.add([...path, 'when'], `must be true or false, not ${typeName(value)}`);
  return false;
}

function itemsOf({ fields, path }: StepSource, facts: Record<string, Json>, problems: Problems): Json[] {
  const forEach = (fields.for_each ?? []) as Json;
  if (operationsIn(forEach).size > 0) return [];
  const items = renderStatic(forEach, facts, [...path, 'for_each'], problems);
  if (items === undefined || Array.isArray(items)) return items ?? [];
  problems.add([...path, 'for_each'], `must be a list, not ${typeName(items)}`);
  return [];
}

/** Parts a `with` into what can be rendered now and the names of the fields that read results. */
function splitWith(value: JsonObject): { known: JsonObject; unknown: Set<string> } {
  const known: JsonObject = {};
  const unknown = new Set<string>();
  for (const [name, field] of Object.entries(value)) {
    if (operationsIn(field).size > 0) unknown.add(name);
    else known[name] = field;
  }
  return { known, unknown };
}

/** The field of a step that secrets may stand in, a nested workflow's parameters included, without what reads results. */
function fieldOfSecrets({ fields }: StepSource): { name: string; value: Json } | null {
  const name = fields.kind === 'workflow' ? 'parameters' : plainRulesOf(fields.kind).secrets;
  if (name === undefined) return null;
  const value = withoutResults((fields.with as JsonObject | undefined)?.[name] ?? null);
  return value === undefined ? null : { name, value };
}

function withoutResults(value: Json): Json | undefined {
  if (typeof value === 'string') return operationsIn(value).size > 0 ? undefined : value;
  if (Array.isArray(value)) return value.map((item) => withoutResults(item) ?? null);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, child]) => {
      const left = withoutResults(child);
      return left === undefined ? [] : [[name, left]];
    }),
  );
}

/** What cannot be rendered is left out: a step that is left out may read what is not there. */
function partsOf(
  { name, value }: { name: string; value: Json },
  context: Record<string, Json>,
  path: Path,
): JsonObject {
  const at = [...path, 'with', name];
  const attempt = (part: Json) => renderStatic(part, context, at, createProblems());
  if (!isObject(value)) {
    const whole = attempt(value);
    return isObject(whole) ? whole : {};
  }
  return Object.fromEntries(
    Object.entries(value).flatMap(([entry, part]) => {
      const rendered = attempt(part);
      return rendered === undefined ? [] : [[entry, rendered]];
    }),
  );
}

function withoutKeys(value: JsonObject, names: ReadonlySet<string>): JsonObject {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.has(name)));
}

function refuseItem({ fields, path }: StepSource, problems: Problems): void {
  eachTemplate(
    { with: (fields.with ?? {}) as JsonObject, when: fields.when ?? true },
    [...path],
    ({ references }, at) => {
      for (const name of ['item', 'index']) {
        if (references.roots.has(name)) problems.add(at, `there is no "${name}": the step has no for_each`);
      }
    },
    () => {},
  );
}

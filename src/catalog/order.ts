import { errors, type FieldProblem } from '../errors.ts';
import { nearMatches } from '../util/near-matches.ts';
import type { TaskservDefinition } from './definition.ts';

type Definitions = ReadonlyMap<string, TaskservDefinition>;

/**
 * The named taskservs with all that they require, each once, what is required before what requires it; otherwise in the
 * order of the names. A soft requirement is no reason to install something, only to install it earlier.
 * @throws 400 VALIDATION_ERROR naming an unknown taskserv with near matches, a whole cycle, or two that conflict.
 */
export function resolveOrder(definitions: Definitions, names: readonly string[]): TaskservDefinition[] {
  const wanted = withRequirements(definitions, names);
  checkConflicts(wanted);
  return sorted(wanted);
}

/** Depth first over hard requirements; iteration order is that of the first mention. */
function withRequirements(definitions: Definitions, names: readonly string[]): Map<string, TaskservDefinition> {
  const wanted = new Map<string, TaskservDefinition>();
  const waiting = names.map((name) => ({ name, requiredBy: null as string | null })).reverse();
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (wanted.has(next.name)) continue;
    const definition = definitions.get(next.name);
    if (definition === undefined) throw unknown(definitions, next.name, next.requiredBy);
    wanted.set(next.name, definition);
    for (const required of definition.requires.toReversed()) {
      if (required.type === 'hard') waiting.push({ name: required.name, requiredBy: next.name });
    }
  }
  return wanted;
}

function unknown(definitions: Definitions, name: string, requiredBy: string | null): Error {
  const near = nearMatches(name, [...definitions.keys()]);
  const hint = near.length > 0 ? `; did you mean ${near.join(' or ')}?` : '';
  const problem: FieldProblem = {
    field: 'name',
    message: `there is no taskserv "${name.slice(0, 64)}"${requiredBy === null ? '' : `, which "${requiredBy}" requires`}${hint}`,
    ...(near.length > 0 ? { near_matches: near } : {}),
  };
  return errors.validation([problem]);
}

function checkConflicts(wanted: Map<string, TaskservDefinition>): void {
  for (const definition of wanted.values()) {
    const other = definition.conflicts.find((name) => wanted.has(name));
    if (other === undefined) continue;
    throw errors.validation([
      { field: 'name', message: `"${definition.name}" and "${other}" cannot be on the same host` },
    ]);
  }
}

function sorted(wanted: Map<string, TaskservDefinition>): TaskservDefinition[] {
  const done = new Set<string>();
  const order: TaskservDefinition[] = [];
  // `path` is the way down to the current one, as a stack of our own: a chain may be longer than the call stack.
  for (const start of wanted.values()) {
    const path = [{ definition: start, next: 0 }];
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const { definition } = top;
      const required = done.has(definition.name) ? undefined : definition.requires[top.next++];
      if (required === undefined) {
        if (!done.has(definition.name)) order.push(definition);
        done.add(definition.name);
        path.pop();
        continue;
      }
      const before = wanted.get(required.name);
      if (before === undefined || done.has(before.name)) continue;
      const from = path.findIndex((step) => step.definition.name === before.name);
      if (from >= 0) throw cycle([...path.slice(from).map((step) => step.definition.name), before.name]);
      path.push({ definition: before, next: 0 });
    }
  }
  return order;
}

function cycle(names: string[]): Error {
  return errors.validation([{ field: 'name', message: `the requirements form a circle: ${names.join(' → ')}` }]);
}

/**
 * What definitions and plans have to know of each kind of node, as plain data: a thread that evaluates gets it from the
 * server (rules.ts), so that it need not load all that carries the kinds out.
 */
import type { JsonObject } from '../../documents/json.ts';
import type { NodeRules } from '../../operations/node.ts';

/** Name of a kind, such as `server.create`. */
export type Kind = string;
export type PlainRules = Pick<NodeRules, 'with' | 'permission' | 'defaults' | 'unique' | 'secrets'>;

let rules: ReadonlyMap<Kind, PlainRules> | undefined;

/** Must be called once before anything is read or planned. */
export function providePlainRules(all: ReadonlyMap<Kind, PlainRules>): void {
  rules = all;
}

function provided(): ReadonlyMap<Kind, PlainRules> {
  if (rules === undefined) throw new Error('nobody has provided the kinds of nodes: import kinds/rules.ts');
  return rules;
}

export function allKinds(): Kind[] {
  return [...provided().keys()];
}

/** @throws where there is no such kind: definitions were checked for that. */
export function plainRulesOf(kind: Kind): PlainRules {
  const found = provided().get(kind);
  if (found === undefined) throw new Error(`There is no kind of node "${kind}".`);
  return found;
}

/** `given` with the fields that it leaves to the workspace. */
export function withDefaults(kind: Kind, given: JsonObject, defaults: JsonObject): JsonObject {
  const made = { ...given };
  for (const name of plainRulesOf(kind).defaults ?? []) {
    const value = defaults[name];
    if (made[name] === undefined && value !== undefined) made[name] = value;
  }
  return made;
}

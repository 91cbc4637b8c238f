/**
 * What can be said of each kind of node before anything runs: its fields, the permission it needs, and what its
 * fields are filled with where the definition is silent. Their handlers are in handlers.ts.
 */
import type { JsonObject } from '../../documents/json.ts';
import type { NodeRules } from '../../operations/node.ts';
import { SERVER_OPERATIONS } from '../../servers/operations.ts';
import { TASKSERV_OPERATIONS } from '../../taskservs/operations.ts';
import { approvalNode } from '../approval/node.ts';
import { commandNode } from '../command/node.ts';
import { workflowNode } from '../run/node.ts';
import { waitNode } from '../wait/node.ts';
import { nodesOf } from './nodes.ts';

/** The workflows' own: apart from what carries them out, which plans workflows by these rules. */
const OWN_RULES: readonly NodeRules[] = [commandNode, workflowNode, approvalNode, waitNode];

const RULES: ReadonlyMap<string, NodeRules> = new Map<string, NodeRules>([
  ...nodesOf(SERVER_OPERATIONS),
  ...nodesOf(TASKSERV_OPERATIONS),
  ...OWN_RULES.map((rules): [string, NodeRules] => [String(rules.name), rules]),
]);

/** Name of a kind, such as `server.create`. */
export type Kind = string;
export const KINDS: readonly Kind[] = [...RULES.keys()];

/** @throws where there is no such kind: definitions were checked for that. */
export function rulesOf(kind: Kind): NodeRules {
  const rules = RULES.get(kind);
  if (rules === undefined) throw new Error(`There is no kind of node "${kind}".`);
  return rules;
}

/** `given` with the fields that it leaves to the workspace. */
export function withDefaults(kind: Kind, given: JsonObject, defaults: JsonObject): JsonObject {
  const made = { ...given };
  for (const name of rulesOf(kind).defaults ?? []) {
    const value = defaults[name];
    if (made[name] === undefined && value !== undefined) made[name] = value;
  }
  return made;
}

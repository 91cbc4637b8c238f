/**
 * What can be said of each kind of node before anything runs: its fields, the permission it needs, and what its
 * fields are filled with where the definition is silent. How they are carried out: src/operation-kinds.ts.
 */
import { provideToThreads } from '../../evaluation/pool.ts';
import type { NodeRules } from '../../operations/node.ts';
import { SERVER_OPERATIONS } from '../../servers/operations.ts';
import { TASKSERV_OPERATIONS } from '../../taskservs/operations.ts';
import { approvalNode } from '../approval/node.ts';
import { commandNode } from '../command/node.ts';
import { workflowNode } from '../run/node.ts';
import { waitNode } from '../wait/node.ts';
import { nodesOf } from './nodes.ts';
import { type Kind, providePlainRules } from './plain-rules.ts';

/** The workflows' own: apart from what carries them out, which plans workflows by these rules. */
const OWN_RULES: readonly NodeRules[] = [commandNode, workflowNode, approvalNode, waitNode];

const RULES: ReadonlyMap<string, NodeRules> = new Map<string, NodeRules>([
  ...nodesOf(SERVER_OPERATIONS),
  ...nodesOf(TASKSERV_OPERATIONS),
  ...OWN_RULES.map((rules): [string, NodeRules] => [String(rules.name), rules]),
]);

providePlainRules(RULES);
provideToThreads(
  'workflowRules',
  [...RULES].map(([kind, { with: fields, permission, defaults, unique, secrets }]) => [
    kind,
    // A schema is an object with hidden marks of its library; as JSON it is the schema alone.
    JSON.parse(JSON.stringify({ with: fields, permission, defaults, unique, secrets })),
  ]),
);

/** @throws where there is no such kind: definitions were checked for that. */
export function rulesOf(kind: Kind): NodeRules {
  const rules = RULES.get(kind);
  if (rules === undefined) throw new Error(`There is no kind of node "${kind}".`);
  return rules;
}

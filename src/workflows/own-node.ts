import type { JsonObject } from '../documents/json.ts';
import type { Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { type Accepted, accept } from '../operations/accept.ts';
import type { NodeRequest } from '../operations/node.ts';

/** Accepts a node whose operation changes nothing outside of its workflow. */
export function acceptOwn(
  services: Services,
  mutation: Mutation,
  { workflowId, position, key, workspace }: NodeRequest,
  kind: string,
  title: string,
  input: JsonObject,
): Promise<Accepted> {
  return accept(services, mutation, {
    ...{ kind, title, workspace, resource: null, input: { workflow_id: workflowId, position, ...input } },
    audit: { resource: `workflow:${workflowId}`, details: { step: key } },
    plan: {},
  });
}

import { Type } from 'typebox';
import type { NodeRules } from '../../operations/node.ts';

const closed = { additionalProperties: false } as const;
const text = (maxLength: number, description: string) => Type.String({ minLength: 1, maxLength, description });

/** A workflow inside a workflow. */
export const workflowNode = {
  name: 'workflow',
  with: Type.Object(
    {
      workflow_type: text(63, 'A type that GET /v1/workflow-types lists.'),
      parameters: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    },
    closed,
  ),
  permission: 'workflow_submit',
} satisfies NodeRules;

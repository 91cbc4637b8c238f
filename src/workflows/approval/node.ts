import { Type } from 'typebox';
import type { NodeRules } from '../../operations/node.ts';

/** Waits for somebody's decision. */
export const approvalNode = {
  name: 'approval',
  with: Type.Object(
    { message: Type.Optional(Type.String({ minLength: 1, maxLength: 1_000, description: 'What is to be approved.' })) },
    { additionalProperties: false },
  ),
  permission: null,
} satisfies NodeRules;

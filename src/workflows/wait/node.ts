import { Type } from 'typebox';
import type { NodeRules } from '../../operations/node.ts';

const closed = { additionalProperties: false } as const;
const check = {
  every: Type.Optional(
    Type.Number({ minimum: 0.1, maximum: 3_600, default: 2, description: 'Seconds between two attempts.' }),
  ),
  within: Type.Optional(
    Type.Number({ minimum: 0.1, maximum: 86_400, default: 300, description: 'Seconds after which it fails.' }),
  ),
};

/** Waits for a time, or for something to answer. */
export const waitNode = {
  name: 'wait',
  with: Type.Union([
    Type.Object(
      { seconds: Type.Number({ minimum: 0, maximum: 31_536_000, description: 'Duration in seconds.' }) },
      closed,
    ),
    Type.Object(
      {
        http: Type.String({ minLength: 1, maxLength: 2_048, description: 'URL that must answer.' }),
        status: Type.Optional(
          Type.Integer({ minimum: 100, maximum: 599, description: 'Default: any from 200 to 299.' }),
        ),
        ...check,
      },
      closed,
    ),
    Type.Object(
      {
        tcp: Type.String({
          maxLength: 300,
          pattern: '^.+:\\d{1,5}$',
          description: 'host:port that must accept a connection.',
        }),
        ...check,
      },
      closed,
    ),
  ]),
  permission: null,
} satisfies NodeRules;

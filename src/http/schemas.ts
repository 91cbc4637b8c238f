import { type TSchema, Type } from 'typebox';

/** What every error answer looks like. */
const ErrorResponse = Type.Object(
  {
    error: Type.String({ examples: ['VALIDATION_ERROR'] }),
    message: Type.String(),
    code: Type.String({ examples: ['400'] }),
    details: Type.Optional(Type.Unknown()),
    request_id: Type.Optional(Type.String()),
  },
  { title: 'Error' },
);

/** Response schemas for these statuses, and for those that any endpoint may answer. */
export function errorResponses(...statuses: number[]): Record<number, TSchema> {
  return Object.fromEntries([...statuses, 429, 500, 503].map((status) => [status, ErrorResponse]));
}

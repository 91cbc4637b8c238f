import { type TSchema, Type } from 'typebox';
import { type Access, CHANGING_METHODS } from './context.ts';

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

/** Response schemas for these statuses. Those that follow from what a route is are added by `answersOf`. */
export function errorResponses(...statuses: number[]): Record<number, TSchema> {
  return Object.fromEntries(statuses.map((status) => [status, ErrorResponse]));
}

/** What a route is, as far as its answers follow from that. */
export interface RouteNature {
  method: string | readonly string[];
  url: string;
  access: Access | undefined;
  /** False: it is sent by a method that changes things, and changes nothing. */
  changes: boolean;
}

/** The errors that a route may answer whatever it does: unreadable input, a refused caller, an absent database. */
export function answersOf({ method, url, access, changes }: RouteNature): Record<number, TSchema> {
  const takesBody = [method].flat().some((name) => CHANGING_METHODS.includes(name));
  const isOpen = access === undefined || access === 'public';
  return errorResponses(
    400,
    ...(isOpen ? [] : [401, 429]),
    ...(isOpen || access === 'authenticated' ? [] : [403]),
    ...(url.includes('/:') ? [404] : []),
    // An Idempotency-Key that was used for another request.
    ...(takesBody && changes && !isOpen ? [409] : []),
    ...(takesBody ? [413, 415] : []),
    ...[500, 503],
  );
}

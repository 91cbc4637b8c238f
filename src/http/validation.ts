import { SerializerSelector } from '@fastify/fast-json-stringify-compiler';
import formats from 'ajv-formats';
import type { FastifyInstance } from 'fastify';
import { createOwnAjv } from '../documents/schemas.ts';
import { atFirstUse } from '../util/at-first-use.ts';

/**
 * Each route's schemas are compiled when it is first asked: all of them together would take a third of a start.
 *
 * Bodies are taken as they are (a string is no number); path and query come as text, so there numbers and booleans are
 * read from it. Unknown fields are errors: the schemas say `additionalProperties: false`.
 */
export function installValidation(app: FastifyInstance): void {
  const options = {
    removeAdditional: false,
    useDefaults: true,
    allErrors: false,
  } as const;
  const body = createOwnAjv({ ...options, coerceTypes: false });
  const text = createOwnAjv({ ...options, coerceTypes: true });
  for (const ajv of [body, text]) formats.default(ajv, ['uuid', 'date-time', 'date', 'ipv4', 'ipv6']);
  app.setValidatorCompiler(({ schema, httpPart }) => {
    const compiled = atFirstUse(() => (httpPart === 'body' ? body : text).compile(schema));
    return (data: unknown) => {
      const validate = compiled();
      return validate(data) || { error: validate.errors ?? [] };
    };
  });
  const compileSerializer = SerializerSelector()();
  app.setSerializerCompiler((route) => {
    const compiled = atFirstUse(() => compileSerializer({ ...route, httpStatus: route.httpStatus ?? '' }));
    return (data) => compiled()(data);
  });
}

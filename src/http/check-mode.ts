/**
 * Requests that are only to be checked: `check_mode` as a query parameter or a field of the body, at every endpoint that
 * changes something. The change is carried out in its transaction, which is then rolled back, so that the answer, the
 * refusals included, is the one that the request itself would get. Kinds of operations whose check asks a provider or a
 * host (`config.checkMode: 'operation'`) carry it out by themselves, as an operation.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type TSchema, Type } from 'typebox';
import { isObject } from '../documents/json.ts';
import { errors } from '../errors.ts';
import { CHANGING_METHODS } from './context.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** `operation`: the operation itself checks. false: there is nothing to check, as nothing is changed. */
    checkMode?: 'operation' | false;
  }
}

const checkMode = Type.Optional(
  Type.Boolean({ default: false, description: 'Only check: answer what the request would do, and change nothing.' }),
);

const checked = new WeakSet<FastifyRequest>();
/** Of these, those whose change knows of it. */
const taken = new WeakSet<FastifyRequest>();

/** Whether the request is only to be checked. Whoever asks must then change nothing. */
export function takeCheckMode(request: FastifyRequest): boolean {
  if (!checked.has(request)) return false;
  taken.add(request);
  return true;
}

/** Whether the request is only to be checked, for what makes two requests the same. */
export function isChecked(request: FastifyRequest): boolean {
  return checked.has(request);
}

/** Gives every endpoint that changes something the field. Install it after the hook that closes their schemas. */
export function installCheckMode(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    const changes = [route.method].flat().some((method) => CHANGING_METHODS.includes(method));
    if (!route.url.startsWith('/v1/') || !changes || route.config?.checkMode === false) return;
    if (route.config?.access === 'public') return;
    const { querystring, body } = route.schema ?? {};
    route.schema = {
      ...route.schema,
      querystring: withCheckMode(querystring as TSchema),
      body: withCheckMode(body as TSchema),
    };
  });
  app.addHook('preHandler', (request, reply, done) => {
    if (!CHANGING_METHODS.includes(request.method)) return done();
    const { query, body } = request;
    const byOperation = request.routeOptions.config.checkMode === 'operation';
    const asked = [takeField(query), byOperation ? isAsked(body) : takeField(body)].includes(true);
    if (!asked) return done();
    reply.header('x-check-mode', 'true');
    if (byOperation) request.body = { ...(isObject(body) ? body : {}), check_mode: true };
    else checked.add(request);
    done();
  });
  app.addHook('onSend', (request, reply, payload, done) => {
    if (!checked.has(request) || reply.statusCode >= 400 || taken.has(request)) return done(null, payload);
    done(errors.internal());
  });
}

/** Takes the field out, so that no handler meets it. @returns whether it was true. */
function takeField(fields: unknown): boolean {
  const wanted = isAsked(fields);
  if (isObject(fields)) delete fields.check_mode;
  return wanted;
}

function isAsked(fields: unknown): boolean {
  return isObject(fields) && fields.check_mode === true;
}

function withCheckMode(schema: TSchema): TSchema {
  if ('anyOf' in schema && Array.isArray(schema.anyOf)) return { ...schema, anyOf: schema.anyOf.map(withCheckMode) };
  if (!('properties' in schema) || !isObject(schema.properties) || 'check_mode' in schema.properties) return schema;
  return { ...schema, properties: { ...schema.properties, check_mode: checkMode } };
}

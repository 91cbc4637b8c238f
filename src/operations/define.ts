/**
 * What makes a kind of operation, in one object: the request that asks for it, who may, what is checked and written when
 * it is accepted, the procedure that carries it out, and what it is as a node of a workflow. Rules:
 * docs/contracts/operation.md.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, type TSchema, Type } from 'typebox';
import type { Permission, Principal } from '../access/permissions.ts';
import type { Procedure } from '../engine/procedure.ts';
import { principalOf } from '../http/context.ts';
import type { Mutation } from '../http/mutation.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import type { Accepted } from './accept.ts';
import type { NodeKind } from './node.ts';
import { Operation } from './schemas.ts';

/** What a request brings, once it has been validated. */
interface OperationRequest<Params, Query, Body> {
  params: Params;
  query: Query;
  body: Body;
}

/** The endpoint that accepts a kind. */
export interface OperationRoute<Params extends TSchema, Query extends TSchema, Body extends TSchema, Prepared> {
  method: 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  path: string;
  tag: string;
  summary: string;
  description?: string;
  params?: Params;
  query?: Query;
  body?: Body;
  /** Statuses of refusals besides 401 and 403. */
  refusals: readonly number[];
  /** The operation itself tells what would be done; default: the request is run and rolled back. */
  checkMode?: 'operation';
  /** What is asked outside the transaction, of providers or of files. @throws ApplicationError. */
  prepare?(
    services: Services,
    principal: Principal,
    request: OperationRequest<Static<Params>, Static<Query>, Static<Body>>,
  ): Promise<Prepared>;
  /** Everything that speaks against the request, then `accept`. @throws ApplicationError. */
  accept(
    services: Services,
    mutation: Mutation,
    request: OperationRequest<Static<Params>, Static<Query>, Static<Body>>,
    prepared: Prepared,
  ): Promise<Accepted>;
}

/** A kind of operation. `Tools`: what its section's procedures work with. */
export interface OperationKind<Tools = never> {
  /** A persisted contract: never renamed. */
  kind: string;
  /** What the caller must be permitted to do. Null: the server alone starts it. */
  permission: Permission | null;
  route?: (app: App, services: Services) => void;
  /** Absent where another kind's procedure carries it out. */
  procedure?(tools: Tools): Procedure;
  /** What it is in a workflow's graph; absent: it cannot be a node. */
  node?: NodeKind;
}

const Nothing = Type.Object({}, { additionalProperties: false });

/** Keeps the types of a route's schemas together while a kind is written down. */
export function defineOperation<
  Tools,
  Params extends TSchema = typeof Nothing,
  Query extends TSchema = typeof Nothing,
  Body extends TSchema = typeof Nothing,
  Prepared = undefined,
>(definition: {
  kind: string;
  permission: Permission;
  route?: OperationRoute<Params, Query, Body, Prepared>;
  procedure?(tools: Tools): Procedure;
  node?: NodeKind;
}): OperationKind<Tools> {
  const { route, ...kind } = definition;
  if (route === undefined) return kind;
  return { ...kind, route: (app, services) => registerRoute(app, services, definition.kind, kind.permission, route) };
}

/** A kind that no request asks for: the server starts it, such as what tidies up after a failure. */
export function defineInternalOperation<Tools>(definition: {
  kind: string;
  procedure(tools: Tools): Procedure;
}): OperationKind<Tools> {
  return { ...definition, permission: null };
}

function registerRoute<Params extends TSchema, Query extends TSchema, Body extends TSchema, Prepared>(
  app: App,
  services: Services,
  kind: string,
  permission: Permission,
  route: OperationRoute<Params, Query, Body, Prepared>,
): void {
  const { method, path, tag, summary, description, params, query, body, refusals, checkMode } = route;
  app.route({
    method,
    url: path,
    config: { access: permission, expensive: true, ...(checkMode === undefined ? {} : { checkMode }) },
    schema: {
      tags: [tag],
      operationId: operationIdOf(kind),
      summary,
      ...(description === undefined ? {} : { description }),
      ...(params === undefined ? {} : { params }),
      ...(query === undefined ? {} : { querystring: query }),
      ...(body === undefined ? {} : { body }),
      response: { 200: Operation, ...errorResponses(401, 403, ...refusals) },
    },
    handler: async (request: FastifyRequest, reply: FastifyReply) => {
      // Fastify has held them against the schemas of this very route.
      const given = { params: request.params, query: request.query, body: request.body } as OperationRequest<
        Static<Params>,
        Static<Query>,
        Static<Body>
      >;
      return services.mutate(request, reply, {
        prepare: async () => route.prepare?.(services, principalOf(request), given),
        work: (mutation, prepared) => route.accept(services, mutation, given, prepared as Prepared),
      });
    },
  });
}

/** `server.create` is `createServer`: what generated clients call the method. */
function operationIdOf(kind: string): string {
  const [thing = '', action = ''] = kind.split('.');
  const words = action.split('_');
  const [verb = '', ...rest] = words;
  const capital = (word: string) => `${word.charAt(0).toUpperCase()}${word.slice(1)}`;
  return `${verb}${rest.map(capital).join('')}${capital(thing)}`;
}

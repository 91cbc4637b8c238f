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
import { capitalized } from '../util/capitalized.ts';
import type { Accepted } from './accept.ts';
import type { NodeKind } from './node.ts';
import { Operation } from './schemas.ts';

/** What a request brings, once it has been validated. */
interface OperationRequest<Params, Query, Body> {
  params: Params;
  query: Query;
  body: Body;
}

/** A request that asks for a kind. */
interface OperationRoute<Params extends TSchema, Query extends TSchema, Body extends TSchema, Prepared> {
  method: 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  path: string;
  /** What generated clients call it. Default: from the kind, `server.create` is `createServer`. */
  operationId?: string;
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

/** An endpoint that accepts operations of a kind. */
export interface OperationEndpoint {
  method: string;
  /** `/v1/servers/:id` */
  path: string;
  operationId: string;
  /** `operation`: the operation itself checks. `request`: the request is run and rolled back. */
  checkMode: 'operation' | 'request';
  register(app: App, services: Services): void;
}

/** A kind of operation. `Tools`: what its section's procedures work with. */
export interface OperationKind<Tools = never> {
  /** A persisted contract: never renamed. */
  kind: string;
  /** What the caller must be permitted to do. Null: the server alone starts it. */
  permission: Permission | null;
  /** What starts it where it has no endpoint of its own, in words for the table of kinds. */
  startedBy?: string;
  endpoints: readonly OperationEndpoint[];
  /** Absent: it is done when it is accepted (`Acceptance.done`). */
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
  route: OperationRoute<Params, Query, Body, Prepared>;
  /** Further requests for the same kind, by `defineEndpoint`. */
  furtherEndpoints?: readonly OperationEndpoint[];
  procedure(tools: Tools): Procedure;
  node?: NodeKind;
}): OperationKind<Tools> {
  const { route, furtherEndpoints = [], ...kind } = definition;
  const { operationId = operationIdOf(kind.kind) } = route;
  return { ...kind, endpoints: [defineEndpoint(kind.permission, { ...route, operationId }), ...furtherEndpoints] };
}

/** A kind that no request of its own asks for: a node of workflows, or what the server starts to tidy up after a failure. */
export function defineInternalOperation<Tools>(definition: {
  kind: string;
  startedBy: string;
  procedure?(tools: Tools): Procedure;
  node?: NodeKind;
}): OperationKind<Tools> {
  return { ...definition, permission: null, endpoints: [] };
}

/** A request that accepts operations, with the types of its schemas kept together. */
export function defineEndpoint<
  Params extends TSchema = typeof Nothing,
  Query extends TSchema = typeof Nothing,
  Body extends TSchema = typeof Nothing,
  Prepared = undefined,
>(
  permission: Permission,
  route: OperationRoute<Params, Query, Body, Prepared> & { operationId: string },
): OperationEndpoint {
  const { method, path, operationId, tag, summary, description, params, query, body, refusals, checkMode } = route;
  const register = (app: App, services: Services) =>
    app.route({
      method,
      url: path,
      config: { access: permission, expensive: true, ...(checkMode === undefined ? {} : { checkMode }) },
      schema: {
        tags: [tag],
        operationId,
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
  return { method, path, operationId, checkMode: checkMode ?? 'request', register };
}

/** `server.create` is `createServer`: what generated clients call the method. */
function operationIdOf(kind: string): string {
  const [thing = '', action = ''] = kind.split('.');
  const words = action.split('_');
  const [verb = '', ...rest] = words;
  return `${verb}${rest.map(capitalized).join('')}${capitalized(thing)}`;
}

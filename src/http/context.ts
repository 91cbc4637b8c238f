import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Permission, Principal } from '../access/permissions.ts';
import { errors } from '../errors.ts';

/** Who may call a route: a permission, anyone who is logged in, or anyone at all. Every route must say. */
export type Access = Permission | 'authenticated' | 'public';

/** Methods of requests that may change something. */
export const CHANGING_METHODS: readonly string[] = ['POST', 'PUT', 'PATCH', 'DELETE'];

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
    /** Sets off work at a provider: has a rate limit of its own, a fifth of the general one. */
    expensive?: boolean;
  }
}

const principals = new WeakMap<FastifyRequest, Principal>();

export function setPrincipal(request: FastifyRequest, principal: Principal): void {
  principals.set(request, principal);
}

/** The authenticated caller. @throws 401 on a request without one. */
export function principalOf(request: FastifyRequest): Principal {
  const principal = principals.get(request);
  if (principal === undefined) throw errors.unauthenticated();
  return principal;
}

/** The caller where there is one: for logs and the audit trail. */
export function maybePrincipalOf(request: FastifyRequest): Principal | undefined {
  return principals.get(request);
}

/** Sends JSON text that Postgres made, as it is. */
export function sendJson(reply: FastifyReply, text: string): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(text);
}

import { sql } from 'kysely';
import { Type } from 'typebox';
import { permittedWorkspaces } from '../../access/permissions.ts';
import { principalOf, sendJson } from '../../http/context.ts';
import { listQuerySchema, sendList } from '../../http/list.ts';
import { errorResponses } from '../../http/schemas.ts';
import type { App, Services } from '../../http/section.ts';
import { ORPHAN_LIST, Orphan, OrphanId, PatchOrphan } from './schemas.ts';
import { getOrphan, setOrphanProtection } from './service.ts';

const tags = ['Orphans'];

/** Servers at providers that carry our labels, and that nobody here knows. */
export function registerOrphanRoutes(app: App, services: Services): void {
  app.get(
    '/v1/orphans',
    {
      config: { access: 'server_read' },
      schema: {
        tags,
        operationId: 'listOrphans',
        summary: 'List orphans: servers at providers that are not recorded here',
        description:
          'What stands at a provider with the labels of this installation, though no server of the list stands for it. Found every `SWEEP_INTERVAL` seconds. `created_after` and `created_before` are about when it was first seen.',
        querystring: listQuerySchema(ORPHAN_LIST),
        response: { 200: Type.Array(Orphan), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const visible = permittedWorkspaces(principalOf(request), 'server_read');
      const scope = visible === null ? [] : [sql<boolean>`workspace = any(${visible}::text[])`];
      return sendList(services.db, ORPHAN_LIST, request, reply, scope);
    },
  );

  app.get(
    '/v1/orphans/:id',
    {
      config: { access: 'server_read' },
      schema: {
        tags,
        operationId: 'getOrphan',
        summary: 'Get an orphan',
        params: OrphanId,
        response: { 200: Orphan, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, await getOrphan(services, principalOf(request), request.params.id)),
  );

  app.patch(
    '/v1/orphans/:id',
    {
      config: { access: 'server_update' },
      schema: {
        tags,
        operationId: 'guardOrphan',
        summary: 'Protect an orphan from deletion',
        params: OrphanId,
        body: PatchOrphan,
        response: { 200: Orphan, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      services.mutate(request, reply, (mutation) =>
        setOrphanProtection(mutation, request.params.id, request.body.protect),
      ),
  );
}

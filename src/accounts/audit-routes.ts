import { Type } from 'typebox';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { AUDIT_LIST, AuditRow } from './audit-schemas.ts';

/** `/v1/audit` */
export function registerAuditRoutes(app: App, { db }: Services): void {
  app.get(
    '/v1/audit',
    {
      config: { access: 'audit_read' },
      schema: {
        tags: ['Audit'],
        operationId: 'listAuditLog',
        summary: 'List the audit log',
        description: 'Every change and every denial: who, what, from where, outcome. Newest first.',
        querystring: listQuerySchema(AUDIT_LIST),
        response: { 200: Type.Array(AuditRow), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => sendList(db, AUDIT_LIST, request, reply, []),
  );
}

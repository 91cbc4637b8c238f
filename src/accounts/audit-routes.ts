import { Type } from 'typebox';
import { lastCheckpoint, readAuditLines } from '../access/audit-log.ts';
import { auditKey } from '../access/audit-sealer.ts';
import { type AuditLine, checkpointText, isGenuine, retentionText } from '../documents/audit-chain.ts';
import { errors } from '../errors.ts';
import { sendJson } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { AUDIT_LIST, AuditCheckpoint, AuditExportLine, AuditExportQuery, AuditRow } from './audit-schemas.ts';

const tags = ['Audit'];

/** `/v1/audit` */
export function registerAuditRoutes(app: App, { db, encryption, installation }: Services): void {
  app.get(
    '/v1/audit',
    {
      config: { access: 'audit_read' },
      schema: {
        tags,
        operationId: 'listAuditLog',
        summary: 'List the audit log',
        description: 'Every change and every denial: who, what, from where, outcome. Newest first.',
        querystring: listQuerySchema(AUDIT_LIST),
        response: { 200: Type.Array(AuditRow), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => sendList(db, AUDIT_LIST, request, reply, []),
  );

  app.get(
    '/v1/audit/checkpoint',
    {
      config: { access: 'audit_read' },
      schema: {
        tags,
        operationId: 'getAuditCheckpoint',
        summary: 'Get the newest checkpoint of the audit log',
        description:
          'Note it somewhere else: a log that later lacks a row before it, or holds another one, has been tampered with. 404 until the first rows have been sealed.',
        response: { 200: AuditCheckpoint, ...errorResponses(401, 403, 404) },
      },
    },
    async (_request, reply) => {
      const checkpoint = await lastCheckpoint(db, installation);
      if (checkpoint === null) throw errors.noCheckpoint();
      return sendJson(reply, JSON.stringify(checkpoint));
    },
  );

  app.get(
    '/v1/audit/export',
    {
      config: { access: 'audit_read' },
      schema: {
        tags,
        operationId: 'exportAuditLog',
        summary: 'Read the sealed audit log with its checkpoints',
        description:
          'Rows in the order in which they were sealed, each with the text that was hashed, and behind the row that it vouches for each checkpoint. Where retention has deleted rows, a record of that comes first. The next page begins behind the position of the last row; a page without rows is the end.',
        querystring: AuditExportQuery,
        response: { 200: Type.Array(AuditExportLine), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const { after, limit } = request.query;
      const key = auditKey(encryption);
      const lines = await readAuditLines(db, installation, after, limit);
      const judged = lines.map((line) => judge(key, line));
      return sendJson(reply, JSON.stringify(judged));
    },
  );
}

/** With the server's word for what was made with its key. */
function judge(key: Buffer, line: AuditLine): AuditLine {
  if (line.kind === 'row') return line;
  const text = line.kind === 'checkpoint' ? checkpointText(line) : retentionText(line);
  return { ...line, valid: isGenuine(key, text, line.mac) };
}

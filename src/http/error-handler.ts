import type {
  FastifyError,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  FastifySchemaValidationError,
  HTTPMethods,
} from 'fastify';
import { createDiskWatch, type DiskWatch, isDiskRefusal } from '../database/disk.ts';
import { isDatabaseUnavailable } from '../database/pool.ts';
import { pathText } from '../documents/json.ts';
import { schemaProblems } from '../documents/schema-errors.ts';
import { ApplicationError, errors, type FieldProblem } from '../errors.ts';

/** Called with every denial, also one that is told as "not found", and with every refusal of too many requests. */
export type OnDenied = (request: FastifyRequest, error: ApplicationError) => void;

/** Renders every error in the reference's format. What is not ours becomes a 500 that keeps its reason to the log. */
export function installErrorHandler(
  app: FastifyInstance,
  onDenied: OnDenied,
  disk: DiskWatch = createDiskWatch(null),
): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const known = toApplicationError(error, request, disk);
    if (known.status === 503) request.log.warn({ reason: error.message }, 'cannot answer for now');
    else if (known.status >= 500) request.log.error({ err: error }, 'request failed');
    if (known.denied || known.status === 429) onDenied(request, known);
    return render(reply, request, known);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? '';
    const allowed = methodsOf(app, path);
    if (allowed.length === 0) return render(reply, request, errors.routeNotFound(request.method, path));
    reply.header('allow', allowed.join(', '));
    return render(reply, request, errors.methodNotAllowed(request.method, path, allowed));
  });
}

/** The methods that a path takes; none where there is no such endpoint. */
function methodsOf(app: FastifyInstance, path: string): string[] {
  return app.supportedMethods.filter((method) => {
    // With CORS, every path has it.
    if (method === 'OPTIONS') return false;
    const route = app.findRoute({ method: method as HTTPMethods, url: path });
    return route !== null && !lacksParameter(route.params);
  });
}

/** `/v1/servers/` fits the path of one server, whose id would be empty: there is no such endpoint. */
export function lacksParameter(params: unknown): boolean {
  return Object.entries(params ?? {}).some(([name, value]) => name !== '*' && value === '');
}

/** The error body, also for answers sent outside the handler. */
export function errorBody(error: ApplicationError, requestId: string): Record<string, unknown> {
  return {
    error: error.code,
    message: error.message,
    code: String(error.status),
    ...(error.details === undefined ? {} : { details: error.details }),
    request_id: requestId,
  };
}

function render(reply: FastifyReply, request: FastifyRequest, error: ApplicationError): FastifyReply {
  if (error.retryAfter !== undefined) reply.header('retry-after', String(error.retryAfter));
  if (error.status === 401) reply.header('www-authenticate', 'Bearer');
  return reply
    .status(error.status)
    .type('application/json; charset=utf-8')
    .send(JSON.stringify(errorBody(error, request.id)));
}

function toApplicationError(error: FastifyError, request: FastifyRequest, disk: DiskWatch): ApplicationError {
  if (error instanceof ApplicationError) return error;
  if (error.validation !== undefined)
    return errors.validation(problemsOf(error.validation, error.validationContext ?? 'body'));
  if (isDiskRefusal(error)) disk.refused(error.message);
  if (isDatabaseUnavailable(error) || endedSession(error)) {
    const problem = disk.problem();
    return problem === null
      ? errors.unavailable('The database cannot be reached. Try again in a moment.')
      : errors.databaseDisk(problem);
  }
  // Postgres' class 22: a value it cannot take, such as a NUL byte or a time that does not exist.
  if (/^22\w{3}$/.test(error.code ?? '')) {
    request.log.warn({ err: error }, 'the database refused a value of this request');
    return errors.validation([
      {
        field: 'request',
        message: 'holds a value that cannot be used (a NUL byte, or a time or id that does not exist)',
      },
    ]);
  }
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return errors.tooLarge(request.routeOptions.bodyLimit ?? 0);
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return errors.unsupportedMediaType(request.headers['content-type']);
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return errors.malformedJson(error.message);
    default:
      break;
  }
  const status = error.statusCode ?? 500;
  if (status >= 400 && status < 500)
    return new ApplicationError(status, status === 400 ? 'BAD_REQUEST' : 'REQUEST_ERROR', error.message);
  return errors.internal();
}

/**
 * Postgres ended the session or did not begin one, whatever its reason (a database closed for connections, a password
 * changed, too few slots): nothing is wrong with the request.
 */
function endedSession(error: Error & { severity?: unknown }): boolean {
  return error.severity === 'FATAL' || error.severity === 'PANIC';
}

/** The validator's errors in our words. @param part of the request: body, querystring, params or headers */
function problemsOf(found: FastifySchemaValidationError[], part: string): FieldProblem[] {
  const unknownField = part === 'querystring' ? 'unknown query parameter' : 'unknown field';
  return schemaProblems(found, { unknownField, types: part === 'body', described: true }).map(
    ({ path, part: _, ...problem }) => ({
      field: path.length === 0 ? part : pathText(path),
      ...problem,
    }),
  );
}

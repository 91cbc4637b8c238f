/** What a request may bring: JSON of bounded depth, and no field or parameter that its endpoint does not know. */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { uuidv7 } from '../database/uuid.ts';
import { inexactness } from '../documents/exact-json.ts';
import { ApplicationError, errors } from '../errors.ts';
import { CHANGING_METHODS } from './context.ts';
import { errorBody, lacksParameter } from './error-handler.ts';

/** Objects and lists in one another. No schema asks for more, and what walks a value may then call itself. */
const MAX_DEPTH = 64;

const NoQuery = Type.Object({}, { additionalProperties: false });
const NoBody = Type.Union([Type.Object({}, { additionalProperties: false }), Type.Null()]);

/** Many clients send `Content-Type: application/json` with no body: that is no body, not a broken one. Else: 415. */
export function acceptJsonOnly(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    if (body.length === 0) return done(null, undefined);
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding.toLowerCase() !== 'identity')
      return done(errors.unsupportedEncoding(encoding));
    // Decoded all the same, each foreign byte would become U+FFFD: another password than the one that was sent.
    if (!isUtf8(body)) return done(errors.malformedJson('it is not encoded in UTF-8.'));
    const text = body.toString();
    return parse(request, text, (error, value: unknown) => {
      if (error !== null)
        done(isJson(text) ? errors.validation([FORBIDDEN_NAME]) : errors.malformedJson(error.message));
      else done(refusalOf(text), value);
    });
  });
}

/** What the parser refuses although it is JSON. */
const FORBIDDEN_NAME = {
  field: 'body',
  message: 'has an object with the field "__proto__", or "constructor" with "prototype": these names are not accepted',
};

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Why JSON that can be parsed is not taken all the same; null: it is. */
function refusalOf(text: string): ApplicationError | null {
  const problem = inexactness(text, MAX_DEPTH);
  if (problem === null) return null;
  return problem === 'too deep' ? errors.tooDeep(MAX_DEPTH) : errors.validation([problem]);
}

/**
 * An endpoint without a schema for its query or body takes none: `{"check_mode": true}` sent to one that does not know
 * it must not be carried out for real.
 */
export function refuseUnknownInput(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    if (!route.url.startsWith('/v1/')) return;
    const changes = [route.method].flat().some((method) => CHANGING_METHODS.includes(method));
    route.schema = {
      ...route.schema,
      querystring: route.schema?.querystring ?? NoQuery,
      ...(changes ? { body: route.schema?.body ?? NoBody } : {}),
    };
  });
}

/** A slash too many at the end of a path, or within, is no id that is empty. A query is UTF-8, as a body is. */
export function refuseUnreadableAddress(app: FastifyInstance): void {
  app.addHook('preValidation', (request, _reply, done) => {
    const [path = '', query = ''] = request.url.split('?');
    if (lacksParameter(request.params)) return done(errors.routeNotFound(request.method, path));
    if (isDecodable(query)) return done();
    done(errors.validation([{ field: 'query', message: 'is not UTF-8, percent-encoded (% itself is %25)' }]));
  });
}

function isDecodable(text: string): boolean {
  try {
    // The result is used: the bundler leaves out a call that is made for its error alone.
    return decodeURIComponent(text).length <= text.length;
  } catch {
    return false;
  }
}

/** Answers what is no HTTP at all, or too much of it, before there is a request. */
export function answerUnreadable(error: FastifyError & { code?: string }, socket: Socket): void {
  // The client has gone.
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  answerSocket(socket, unreadable(error.code));
}

function answerSocket(socket: Duplex, error: ApplicationError): void {
  const body = JSON.stringify(errorBody(error, uuidv7()));
  socket.end(
    `HTTP/1.1 ${error.status} ${error.code}\r\ncontent-type: application/json; charset=utf-8\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/** Node answers these by itself, without a body, or by closing the connection. */
export function answerWhatNodeWould(server: Server): void {
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    const error = errors.unknownExpectation(request.headers.expect ?? '');
    const body = JSON.stringify(errorBody(error, uuidv7()));
    const type = 'application/json; charset=utf-8';
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body), connection: 'close' };
    response.writeHead(error.status, headers).end(body);
  });
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy());
    answerSocket(socket, errors.noProxy(request.url ?? ''));
  });
}

/** @throws 400 where HTTP/1.1 asks for one Host and there is none, or several. */
export function requireHost({ raw }: FastifyRequest): void {
  if (raw.httpVersionMajor < 1 || (raw.httpVersionMajor === 1 && raw.httpVersionMinor < 1)) return;
  const hosts = raw.rawHeaders.filter((name, place) => place % 2 === 0 && name.toLowerCase() === 'host').length;
  if (hosts !== 1) throw errors.badHost(hosts);
}

function unreadable(code: string | undefined): ApplicationError {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new ApplicationError(431, 'HEADERS_TOO_LARGE', 'The headers of the request are larger than 16 KiB.');
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new ApplicationError(408, 'REQUEST_TIMEOUT', 'The request did not arrive whole in time.');
  }
  return new ApplicationError(400, 'BAD_REQUEST', 'This is not an HTTP request that can be understood.');
}

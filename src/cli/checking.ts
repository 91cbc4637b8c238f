import type { Client } from '../sdk/client.ts';

/** Fields that no output may show. */
const SECRETS = /password|private_key|token|secret|access_key/;

/** What `--check` found out: the request that would have been sent. Nothing was changed. */
export class CheckedRequest extends Error {
  override readonly name = 'CheckedRequest';
  readonly request: { request: string; body?: unknown };

  constructor(method: string, path: string, given: { path?: Record<string, unknown>; body?: unknown } = {}) {
    const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(given.path?.[name])));
    super(`Nothing was changed. Without --check it would be: ${method} ${filled}`);
    this.request = {
      request: `${method} ${filled}`,
      ...(given.body === undefined ? {} : { body: redact(given.body) }),
    };
  }
}

/** The client for commands whose request knows no check mode: it reads, and throws CheckedRequest where it would change. */
export function onlyReading(client: Client): Client {
  const refuse =
    (method: string) => async (path: string, given?: { path?: Record<string, unknown>; body?: unknown }) => {
      throw new CheckedRequest(method, path, given);
    };
  return {
    ...client,
    post: refuse('POST') as Client['post'],
    put: refuse('PUT') as Client['put'],
    patch: refuse('PATCH') as Client['patch'],
    delete: refuse('DELETE') as Client['delete'],
  };
}

function redact(body: unknown): unknown {
  if (Array.isArray(body)) return body.map(redact);
  if (typeof body !== 'object' || body === null) return body;
  return Object.fromEntries(
    Object.entries(body).map(([name, value]) => [name, SECRETS.test(name) ? '(not shown)' : redact(value)]),
  );
}

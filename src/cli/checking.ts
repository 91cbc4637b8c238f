import type { Client } from '../sdk/client.ts';

/** Sent by methods that change things; these change nothing, and know no check mode. */
const CHANGE_NOTHING = [
  '/v1/workflows/validate',
  '/v1/operations/{id}/wait',
  '/v1/auth/login',
  '/v1/auth/refresh',
  '/v1/auth/exchange',
];

/** Whether a request such as `POST /v1/servers/create` changes something that can be checked first. */
export function changes(request: string): boolean {
  const [method, path = ''] = request.split(' ');
  return method !== 'GET' && !CHANGE_NOTHING.includes(path) && !path.startsWith('/v1/auth/sso/');
}

type Given = { query?: Record<string, unknown> };

/** The client of `--check`: it asks for every change in the server's check mode, and gets the answer and refusals of that. */
export function checkingOnly(client: Client): Client {
  const checked =
    (call: unknown) =>
    (path: string, given: Given = {}) => {
      const query = CHANGE_NOTHING.includes(path) ? given.query : { ...given.query, check_mode: true };
      return (call as (path: string, given: Given) => unknown)(path, {
        ...given,
        ...(query === undefined ? {} : { query }),
      });
    };
  return {
    ...client,
    post: checked(client.post) as Client['post'],
    put: checked(client.put) as Client['put'],
    patch: checked(client.patch) as Client['patch'],
    delete: checked(client.delete) as Client['delete'],
  };
}

import { ApiError, ConnectionError, OperationFailedError } from '../sdk/client.ts';

/** Exit statuses; documented in docs/cli/README.md. */
export const EXIT = { done: 0, failed: 1, usage: 2, notFound: 3, denied: 4, conflict: 5, interrupted: 130 } as const;

/** The command line cannot be carried out as it was given. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** What was asked for by name does not exist, found out before any request could say so. */
export class NotFoundError extends Error {
  override readonly name = 'NotFoundError';
}

/** What was asked for cannot be, as things stand: found out without a refused request. */
export class ConflictError extends Error {
  override readonly name = 'ConflictError';
}

/** The user pressed Ctrl-C. The message says what became of the operation. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
}

export function exitStatusOf(error: unknown): number {
  if (error instanceof UsageError) return EXIT.usage;
  if (error instanceof NotFoundError) return EXIT.notFound;
  if (error instanceof ConflictError) return EXIT.conflict;
  if (error instanceof InterruptedError) return EXIT.interrupted;
  if (error instanceof ApiError) {
    const byStatus: Record<number, number> = { 400: EXIT.usage, 401: EXIT.denied, 403: EXIT.denied };
    return { ...byStatus, 404: EXIT.notFound, 409: EXIT.conflict }[error.status] ?? EXIT.failed;
  }
  return EXIT.failed;
}

/** The lines for standard error: what was wrong, where, what to do. */
export function describeError(error: unknown, environment: NodeJS.ProcessEnv): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof ApiError) {
    const lines = [error.fields.length > 0 ? 'The request was refused:' : error.message];
    for (const { field, message, near_matches: near } of error.fields) {
      lines.push(`  ${field}: ${message}${near && near.length > 0 ? ` (did you mean ${near.join(', ')}?)` : ''}`);
    }
    if (error.status === 401) lines.push(loginAdvice(environment));
    if (error.status >= 500 && error.requestId !== null)
      lines.push(`Request id for the server's log: ${error.requestId}`);
    return lines.join('\n');
  }
  if (error instanceof OperationFailedError) {
    const { id, status, error: reason } = error.operation;
    return `Operation ${id} ${status === 'cancelled' ? 'was cancelled' : 'failed'}${reason === null ? '' : `: ${reason}`}`;
  }
  if (error instanceof ConnectionError) return `${error.message}\n${connectionAdvice(error)}`;
  return error.message;
}

/** How OpenSSL and Node say that no authority vouches for a certificate. */
const UNTRUSTED = /self-signed certificate|unable to (?:get local issuer|verify the first) certificate/;

function connectionAdvice({ message }: ConnectionError): string {
  return UNTRUSTED.test(message)
    ? "Trust the authority that signed the server's certificate: provisioning login <url> --ca <file>, or set PROVISIONING_CA."
    : 'Check that the server is running and that the address is right.';
}

function loginAdvice({ PROVISIONING_URL: url, PROVISIONING_TOKEN: token }: NodeJS.ProcessEnv): string {
  if (url !== undefined && token !== undefined)
    return 'PROVISIONING_TOKEN has expired, was revoked, or is mistyped. Create another one: provisioning token create';
  return 'Log in with: provisioning login';
}

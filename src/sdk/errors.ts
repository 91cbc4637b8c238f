/** Something wrong with one field of a request, as the API tells it in `details`. */
export interface FieldProblem {
  field: string;
  message: string;
  near_matches?: string[];
}

/** The API refused a request. `code` is the stable name, such as `NOT_FOUND`; `status` the HTTP status. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: string;
  /** What `details` of the answer held, often a list of `FieldProblem`. */
  readonly details: unknown;
  /** To be told to whoever runs the server: its log has more under this id. */
  readonly requestId: string | null;

  constructor(
    status: number,
    answer: { error?: unknown; message?: unknown; details?: unknown; request_id?: unknown },
    requestId: string | null,
  ) {
    super(typeof answer.message === 'string' ? answer.message : `The server answered with status ${status}.`);
    this.status = status;
    this.code = typeof answer.error === 'string' ? answer.error : `HTTP_${status}`;
    this.details = answer.details;
    this.requestId = requestId;
  }

  /** The fields that were wrong; empty where the error is not about fields. */
  get fields(): FieldProblem[] {
    return Array.isArray(this.details)
      ? (this.details as FieldProblem[]).filter(({ field }) => field !== undefined)
      : [];
  }
}

/** The server could not be reached, or its answer did not come or was not understood. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
  constructor(url: string, cause: unknown) {
    super(`${new URL(url).origin} could not be reached: ${reasonOf(cause)}`, { cause });
  }
}

/** An operation ended otherwise than completed. */
export class OperationFailedError extends Error {
  override readonly name = 'OperationFailedError';
  readonly operation: { id: string; status: string; error: string | null; error_code?: string | null };

  constructor(operation: OperationFailedError['operation']) {
    super(operation.error ?? `The operation ${operation.id} was ${operation.status}.`);
    this.operation = operation;
  }
}

function reasonOf(cause: unknown): string {
  // fetch says "fetch failed" and keeps the reason (ECONNREFUSED …) in its cause.
  if (cause instanceof Error) return cause.cause instanceof Error ? reasonOf(cause.cause) : cause.message;
  return String(cause);
}

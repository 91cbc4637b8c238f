import type { Queryable } from '../database/pool.ts';

/** What a step's function gets. */
export interface StepCall {
  operationId: string;
  /** Fires when the operation is cancelled, the step's deadline passes, or this replica hands its work over. */
  signal: AbortSignal;
  /** Fires when somebody asks the operation to stop. For steps that outlive it: they end in order by themselves. */
  cancelled: AbortSignal;
  /** Throws when nothing may be changed any more on behalf of this operation. Call it right before each change. */
  guard: () => void;
  /** An earlier try of this step may have taken effect: here, or in an execution that was cut off. */
  readonly repeated: boolean;
  /** So many milliseconds were spent waiting for a turn (a rate limit): they do not count towards the step's deadline. */
  waited: (milliseconds: number) => void;
  /** Adds a line to the operation's events. Never a secret. */
  log(line: string, fields?: Record<string, unknown>): Promise<void>;
}

export interface StepOptions {
  /** Seconds that all attempts and all waiting of the step may take together, but for rate limits. Default 900; Infinity: no end. */
  deadline?: number;
  /**
   * A cancel does not interrupt this step: `signal` does not fire for it, `cancelled` does, and the step ends by
   * itself when it has stopped what it set off. Steps after it are interrupted as ever.
   */
  outlivesCancel?: boolean;
  /** Tries of what fails with `retryable: true`. Rate limits and an absent database do not count. Default 5. */
  attempts?: number;
  /** Seconds before the second try; doubled each time up to 60, with jitter. Default 1. */
  retryDelay?: number;
}

/** Proof that `finish` was called: what `run` must return. */
export interface Finished {
  readonly finished: true;
}

/** What a procedure can do. Everything outside `step` and `finish` must be deterministic: it runs again after a crash. */
export interface ProcedureContext {
  operationId: string;
  workspace: string;
  createdBy: string;
  /** The user on whose behalf it runs; null: nobody's. */
  ownerId: string | null;
  /**
   * Runs `work` and keeps its result (JSON) for good. After a crash a step that had not ended runs again: observe
   * before you act. Names and order are a persisted contract.
   */
  step<T>(name: string, work: (call: StepCall) => Promise<T>, options?: StepOptions): Promise<T>;
  /** Percent, 0 to 99; 100 comes with the end. */
  progress(percent: number): Promise<void>;
  /** The last act: `write` and the completion of the operation commit together, or not at all when a cancel came first. */
  finish(write: (tx: Queryable) => Promise<Record<string, unknown>>): Promise<Finished>;
  /**
   * Whether to do as the version does that knows the change `name`. False, for good, where a step behind this place is
   * already on record from the version before; so ask right where the change is.
   */
  patched(name: string): Promise<boolean>;
}

/** An operation that undoes or tidies up after one that was cancelled or failed. */
export interface FollowUp {
  kind: string;
  /** What it does, in words for people. */
  title: string;
  resource: string | null;
  input: Record<string, unknown>;
}

/** How an operation ended without completing. */
export interface Compensation {
  operationId: string;
  outcome: 'failed' | 'cancelled';
  /** False: cancelled before anything was done. */
  started: boolean;
  /** What went wrong, for the user; null when cancelled. */
  error: string | null;
  /** Fields that compensating adds here stand in the ended operation's result: what was brought about all the same. */
  result: Record<string, unknown>;
}

/** A durable function that carries an operation out. */
export interface Procedure {
  /** The operation kind it serves, such as `server.create`. */
  kind: string;
  run(input: Record<string, unknown>, context: ProcedureContext): Promise<Finished>;
  /**
   * Runs in the transaction that ends the operation as failed or cancelled: writes what must be true from then on and
   * answers the operation, if any, that tidies up. Its id will stand in the ended one's result.
   */
  compensate?(tx: Queryable, input: Record<string, unknown>, compensation: Compensation): Promise<FollowUp | null>;
  /** Which queue carries it out, by its input. */
  queue(input: Record<string, unknown>): string;
}

/** Types a procedure's input without every caller casting: the input was validated before it was stored. */
export function defineProcedure<Input extends object>(definition: {
  kind: string;
  run(input: Input, context: ProcedureContext): Promise<Finished>;
  compensate?(tx: Queryable, input: Input, compensation: Compensation): Promise<FollowUp | null>;
  queue(input: Input): string;
}): Procedure {
  return definition as unknown as Procedure;
}

/** Named failure with a code, kept as plain fields through the checkpoint. */
export class OperationError extends Error {
  override readonly name = 'OperationError';
  readonly code: string;
  readonly retryable: boolean;
  constructor(code: string, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

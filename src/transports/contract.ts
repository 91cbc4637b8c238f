/**
 * What a way into a host must do. The numbered rules are in docs/contracts/transport.md and
 * test/contracts/transport.testsuite.ts holds every transport to them.
 */

import { harmlessText } from '../util/harmless.ts';

/** One line of output without its end. */
export interface Line {
  stream: 'stdout' | 'stderr';
  /**
   * UTF-8; what is not becomes U+FFFD. At most MAX_LINE_BYTES of it. As a terminal shows it in the end: what follows the
   * last CR, without escape sequences, and with a visible sign for each other control character but tabs.
   */
  text: string;
  /** The line was longer than that and goes on in the next one of its stream. */
  partial?: true;
}

/** Bytes after which a line is cut, so that a flood without line ends cannot fill the memory. */
export const MAX_LINE_BYTES = 16_384;

export interface RunOptions {
  /** Reaches the script as its environment; it travels with the script's text, never in an argument vector. */
  env?: Record<string, string>;
  /** Everything the script can read from its standard input; absent: nothing. */
  stdin?: string | Buffer;
  /** Ends the script with all that it has started, then the call rejects with `signal.reason` itself. */
  signal?: AbortSignal;
  /** After this many seconds the script is ended as by the signal, and the call rejects with TIMEOUT. */
  timeoutSeconds: number;
  /**
   * Called for each line as it arrives, in order within a stream, never after the call has ended. Where it answers a
   * promise, soon no more is read from the host before that settles.
   */
  onLine?: (line: Line) => unknown;
  /** Lines come as the host wrote them, for `runJob`, which has to read them first. */
  raw?: boolean;
  /**
   * What the script is, in two words (`install redis`, `check redis`, `remove redis`): for messages, and for the
   * simulated transport, which runs nothing and answers a `check NAME` by whether the last of `install NAME` and
   * `remove NAME` that succeeded on that host was the install. Never a secret.
   */
  label?: string;
}

/**
 * How a script ended; anything else is a TransportError. Ended by a signal, `exitCode` is null and `signal` names it
 * (`SIGTERM`). A status of 128 + n counts as that too: it is all that some hosts tell of it.
 */
export interface RunResult {
  exitCode: number | null;
  signal: string | null;
}

/** A script that outlives the connection and this process; see `runJob`. */
export interface Job {
  /** Names the job on its host for good: the same id is the same run. 1 to 100 of `A-Za-z0-9_-`. */
  id: string;
  script: string;
  env: Record<string, string>;
  /** Counted from the job's first start on its host, also when it is attached to again. */
  timeoutSeconds: number;
  /**
   * Ends the job with all that it has started, then the call rejects with `signal.reason`. Where that has the code
   * `HANDED_OVER` (this process stops and another goes on) the job is left running for the other to attach to.
   */
  signal?: AbortSignal;
  /** First line to be told, counted from 1: what was seen before a crash is not told again. */
  fromLine?: number;
  onLine?: (line: Line, number: number) => unknown;
  /** As in RunOptions. */
  label?: string;
}

/** A way into one host. Calls may overlap. */
export interface Transport {
  /** The host in a few words, for messages: `web-01 (203.0.113.7)`. */
  readonly host: string;
  /**
   * Runs a POSIX shell script as root (`sudo -n` where the user is not root), in `/`. Its text and environment go over
   * standard input, never in an argument vector.
   * @throws TransportError, or the signal's reason.
   */
  run(script: string, options: RunOptions): Promise<RunResult>;
  /**
   * Writes a file: missing directories above it are made (0755), the content is verified by its checksum, and the file
   * takes its place by a rename, owned by root.
   * @throws TransportError FAILED when the host cannot (no space, read-only).
   */
  upload(content: string | Buffer, path: string, options: { mode: number; signal?: AbortSignal }): Promise<void>;
  /** Carries out jobs by itself. Absent: `runJob` does it with shell scripts over `run`. */
  runJob?(job: Job): Promise<RunResult>;
  /** Whether a job of that id was begun there, where it carries out jobs by itself; see `isJobBegun`. */
  isJobBegun?(id: string): Promise<boolean>;
  /** Gives the connection back. What still runs through it fails. May be called again. */
  close(): Promise<void>;
}

/** Why a host could not be worked on, in words that hold for every transport. */
export type TransportErrorCode =
  /** No connection could be made: nothing ran. */
  | 'UNREACHABLE'
  /** The host does not take our key, or the user may not become root. */
  | 'AUTHENTICATION_FAILED'
  /** The host is not the one it was: nothing was sent. */
  | 'HOST_KEY_CHANGED'
  /** The connection was lost while a script ran: it may have run to its end. */
  | 'CONNECTION_LOST'
  | 'TIMEOUT'
  /** The host answered, but could not do it. */
  | 'FAILED';

/** The only error that leaves a transport, but for the signal's reason. Decide by `code`: it survives a checkpoint. */
export class TransportError extends Error {
  override readonly name = 'TransportError';
  readonly code: TransportErrorCode;
  /** A later try may succeed. */
  readonly retryable: boolean;

  /** @param message names the host, what was wrong and what to do; never a secret. */
  constructor(code: TransportErrorCode, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(harmlessText(message), { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? (code === 'UNREACHABLE' || code === 'CONNECTION_LOST');
  }
}

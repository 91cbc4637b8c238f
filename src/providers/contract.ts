/**
 * What a place that makes servers must do. The numbered rules are in docs/contracts/provider.md and
 * test/contracts/provider.testsuite.ts holds every provider to them.
 */

import { harmlessText } from '../util/harmless.ts';

/** Label key that ties a created thing to the operation that asked for it. */
export const OPERATION_LABEL = 'provisioning-operation';
/** Label key that carries the workspace's name. */
export const WORKSPACE_LABEL = 'provisioning-workspace';

/** Label key that tells which installation made it: several may share an account. */
export const INSTALLATION_LABEL = 'provisioning-installation';

/** A size of server. `name` is neutral (`2xCPU-4GB`) or the provider's own. */
export interface Plan {
  name: string;
  /** Virtual processors. */
  cpus: number;
  /** Mebibytes. */
  memory_mb: number;
  /** Gibibytes of the system disk; null where the provider has no notion of it. */
  storage_gb: number | null;
  /** The provider's own name for it. */
  native_name: string;
  /** What it costs where it costs least, and in which zones it costs something else; absent where nothing is told. */
  prices?: PlanPrices;
}

/** What a server of one plan in one zone costs. Without taxes and traffic. */
export interface Price {
  /** ISO 4217; null where the provider tells amounts in the account's own currency without naming it. */
  currency: string | null;
  /** Major units (euros, not cents). */
  hourly: number;
  /** What a whole month costs at most: a provider may cap it below 730 times the hour. */
  monthly: number;
}

/** The price by zone name. */
export type PlanPrices = Record<string, Price>;

/** A place where a server can stand. */
export interface Zone {
  name: string;
  description: string;
}

/** What the caller wants. Plain data. It is stored with the operation, user data and host key encrypted. */
export interface ServerSpec {
  workspace: string;
  hostname: string;
  plan: string;
  zone: string;
  tags: string[];
  /** A neutral name (`debian-12`) or the provider's own; absent: the provider's default. */
  image?: string | null;
  /** For cloud-init, besides the host name and the key: text, or in base64. May hold secrets: it goes into no message or log. */
  user_data?: string | null;
  /** The workspace's public key, a line for root's `authorized_keys`; absent where nobody logs in. */
  ssh_public_key?: string | null;
  /** What the server shall show as its ed25519 host key, in OpenSSH's form; absent: it makes its own. */
  ssh_host_key?: { public_key: string; private_key: string } | null;
  /** `public`, `private`, or the provider's own ids of networks; absent: the provider's default, with a public address. */
  networks?: string[] | null;
}

/** How a server stands at the provider, in our words. `unknown` only for states the provider itself cannot tell. */
export type ProviderServerStatus =
  | 'creating'
  | 'running'
  | 'stopping'
  | 'stopped'
  | 'starting'
  | 'deleting'
  | 'error'
  | 'unknown';

/** A server as the provider reports it. */
export interface ProviderServer {
  /** The provider's own identifier: all that later calls need. */
  ref: string;
  hostname: string;
  plan: string;
  zone: string;
  status: ProviderServerStatus;
  /** IPv4 or IPv6 as text, public before private; null while it has none. */
  ip_address: string | null;
  /** Value of the operation label; null when it carries none. */
  operation_id: string | null;
  workspace: string | null;
  /** Value of the installation label; null where it carries none, absent where the provider sets none. */
  installation?: string | null;
  /** The labels a user sees, as tags (`key=value`, or `key` alone); absent where the provider keeps none. */
  tags?: string[];
}

/** One thing wrong with a spec, tied to the field that names it, with the nearest valid values. */
export interface SpecProblem {
  field: 'provider' | 'plan' | 'zone' | 'hostname' | 'tags' | 'image' | 'user_data' | 'networks';
  message: string;
  near_matches: string[];
}

/** Given to every call. */
export interface CallOptions {
  /**
   * Ends waiting and reading at once: the call rejects with `signal.reason` itself. Nothing is sent after it fired. A
   * mutation already sent is awaited all the same: its effect must be known.
   */
  signal?: AbortSignal;
  /** Told what a call waits for (the account's turn, a pause the provider asked for), so that somebody can be shown it. */
  onWait?: (reason: string) => void;
  /** Told, now and then and at its end, how long such a wait has been since it was told last. Milliseconds. */
  onWaited?: (milliseconds: number) => void;
  /** Seconds a call may wait for the account's turn before it gives up as RATE_LIMITED or UNAVAILABLE. Default: no limit. */
  patience?: number;
}

/** The labels by which a server is known as ours, and its tags. */
export interface ServerLabels {
  /** Value of the operation label. */
  operationId: string;
  workspace: string;
  /** All that it shall have. */
  tags: string[];
}

/** What is listed. */
export interface ListOptions extends CallOptions {
  /** Also what carries no label of ours. */
  unlabelled?: boolean;
}

/** Given to every call that changes something. */
export interface MutationOptions extends CallOptions {
  /** The operation on whose behalf the change is made. */
  operationId: string;
  /**
   * Must be called directly before each mutating request goes out. It throws when the operation was cancelled or when
   * this process may no longer act for it (it stalled and another took over); what it throws comes through unchanged.
   */
  guard: () => void;
  /** An earlier try may have taken effect without anybody here having seen its answer. */
  repeated?: boolean;
  /** Told what whoever asked should know of how it was done: what stays behind and costs money, for example. */
  onNotice?: (notice: string) => void;
}

/** What a call is for. `change` goes before `look` (what a change needs to know), and both before `observe`. */
export type CallKind = 'change' | 'look' | 'observe';

/** How the calls of one account stand, as this process sees it. */
export interface AccountState {
  /**
   * `ok`: calls go out. `paused`: the provider asked for fewer. `unreachable`: it did not answer several times in a row.
   * `refused`: it did not accept the credentials several times in a row.
   */
  state: 'ok' | 'paused' | 'unreachable' | 'refused';
  /** Why calls are held; null when they are not. */
  reason: string | null;
  /** Seconds until a call goes out again. */
  retry_after: number;
  /** Sent so far. */
  calls: Record<CallKind, number>;
  /** Calls that wait for their turn. */
  waiting: number;
  /** Times the provider answered that there are too many. */
  throttled: number;
}

export interface Provider {
  readonly name: string;
  /** Servers under change at once, over all replicas: what the provider's rate limits bear. Infinity: no bound. */
  readonly concurrency: number;
  /** False: nobody logs in to its servers over SSH, and they get no key. Default: true. */
  readonly takesSshKey?: boolean;
  /** Milliseconds that lie between two observations at least, so that these stay within the account's budget. */
  observationIntervalMs?(): number;
  /** How the calls of its account stand; absent where they are not counted. */
  account?(): AccountState;
  /** Lists may show the servers as they were so long ago. Milliseconds; absent: lists never lag. */
  readonly listingLagMs?: number;

  listPlans(options?: CallOptions): Promise<Plan[]>;
  listZones(options?: CallOptions): Promise<Zone[]>;
  /** Everything wrong with the spec that can be known without writing; empty when it can be made. */
  validate(spec: ServerSpec, options?: CallOptions): Promise<SpecProblem[]>;

  /** The server labelled with the operation, or null. */
  findServer(operationId: string, options?: CallOptions): Promise<ProviderServer | null>;
  /** Finds the server labelled with `operationId`, or makes it. Twice with one operation id makes one server. */
  ensureServer(spec: ServerSpec, options: MutationOptions): Promise<ProviderServer>;
  /**
   * One server, asked for by its ref instead of looked up in a list, whatever its labels; null when it does not exist.
   * Absent where lists never lag.
   */
  readServer?(ref: string, options?: CallOptions): Promise<ProviderServer | null>;
  /** One read for many servers. A server that does not exist is absent from the map. Keys are refs. */
  observeServers(refs: readonly string[], options?: CallOptions): Promise<Map<string, ProviderServer>>;
  /**
   * Why a server that does not exist any more has ended by itself; null where somebody deleted it, or where that is not known.
   * Absent where a server that was accepted always comes to be.
   */
  whyGone?(ref: string, options?: CallOptions): Promise<ProviderError | null>;
  /** Whether a server of this spec gets the spec's host key. Absent: always. */
  givesHostKey?(spec: ServerSpec, options?: CallOptions): Promise<boolean>;
  /** Returns once the provider accepted it; "already so" is success. Observe for the outcome. */
  startServer(ref: string, options: MutationOptions): Promise<void>;
  stopServer(ref: string, options: MutationOptions): Promise<void>;
  restartServer(ref: string, options: MutationOptions): Promise<void>;
  /**
   * Deletes the server with all that was made for it and is billed, and nothing else that is attached: `onNotice` is told
   * what stays. Missing is success. Returns when it is gone or going.
   */
  deleteServer(ref: string, options: MutationOptions): Promise<void>;
  /**
   * Every server that carries our operation label, of whichever installation; with `unlabelled` every server of the
   * account. All of them, or an error: a part of the list is never answered.
   */
  listServers(options?: ListOptions): Promise<ProviderServer[]>;

  /**
   * Gives the server these labels, this installation's, and these tags in place of those that it has; the same again is
   * success. Absent where labels cannot be changed. @throws NOT_FOUND.
   */
  labelServer?(ref: string, labels: ServerLabels, options: MutationOptions): Promise<void>;
  /**
   * Gives a stopped server the plan; its disk stays as large as it is. The same again is success. Returns once the
   * provider has accepted. Absent where that cannot be done. @throws CONFLICT where it is not stopped, NOT_FOUND.
   */
  resizeServer?(ref: string, to: { plan: string; zone: string }, options: MutationOptions): Promise<void>;

  /** Releases connections. */
  close?(): Promise<void>;
}

/** Why a provider call failed, in words that hold for every provider. */
export type ProviderErrorCode =
  | 'RATE_LIMITED'
  | 'UNAVAILABLE'
  | 'TIMEOUT'
  | 'INVALID_REQUEST'
  | 'AUTHENTICATION_FAILED'
  | 'FORBIDDEN'
  | 'QUOTA_EXCEEDED'
  | 'CAPACITY_EXHAUSTED'
  | 'CONFLICT'
  | 'NOT_FOUND'
  | 'FAILED';

/**
 * The only error that crosses the provider boundary, apart from what the guard throws and the signal's reason. `message`
 * says what was wrong and what to do; the provider's own code and words stand in `details`. Never carries a credential.
 * Survives the checkpoint as plain fields, so decide by `code`, not by `instanceof`.
 */
export class ProviderError extends Error {
  override readonly name = 'ProviderError';
  readonly code: ProviderErrorCode;
  /** A later try of the same call may succeed. */
  readonly retryable: boolean;
  /** Seconds the provider asked us to wait, where it did. */
  readonly retryAfter: number | undefined;
  readonly details: Record<string, unknown>;

  constructor(
    code: ProviderErrorCode,
    message: string,
    options: { retryable: boolean; retryAfter?: number; details?: Record<string, unknown>; cause?: unknown },
  ) {
    super(harmlessText(message), { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable;
    this.retryAfter = options.retryAfter;
    this.details = options.details ?? {};
  }
}

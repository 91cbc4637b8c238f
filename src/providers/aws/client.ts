import type { EC2Client } from '@aws-sdk/client-ec2';
import { type Account, createAccount, type RateLimit } from '../account.ts';
import { type CallKind, type CallOptions, type MutationOptions, ProviderError } from '../contract.ts';
import { ask, change, type Outcome, whileWanted } from '../waiting.ts';
import { isThrottled, statusOf, toProviderError } from './errors.ts';

type Sdk = typeof import('@aws-sdk/client-ec2');

interface AwsCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

export interface AwsSettings {
  region: string;
  /** Value of the installation label. */
  installation: string;
  /** Scheme, host and port of the API; null: Amazon's own for the region. */
  endpoint: string | null;
  /** Null: what the SDK finds by itself (environment, profile, the role of the machine). */
  credentials: AwsCredentials | null;
  /** For every server, besides or instead of the network's default. */
  securityGroups: string[];
  /** Calls that this process may make. */
  limit: RateLimit;
  timeoutMs?: number;
  /** Milliseconds that its lists may be behind. Default: what EC2 needs at most, as a rule. */
  listingLagMs?: number;
}

/** What sends a command: the SDK's classes, and a client of them. */
export interface Sent {
  sdk: Sdk;
  client: EC2Client;
  abortSignal: AbortSignal;
}

export interface Aws {
  account: Account;
  settings: AwsSettings;
  /** Asks something. @throws ProviderError; the signal's reason. */
  ask<T>(what: string, send: (sent: Sent) => Promise<T>, options?: CallOptions, kind?: CallKind): Promise<T>;
  /** Changes something, once the guard has let it; awaited whatever the signal does. */
  change<T>(what: string, send: (sent: Sent) => Promise<T>, options: MutationOptions): Promise<T>;
  close(): void;
}

/** How long one answer may take. */
const DEFAULT_TIMEOUT_MS = 30_000;

type Opened = Pick<Sent, 'sdk' | 'client'>;

/** Nothing is loaded or contacted before the first call: the SDK is large. */
export function createAws(settings: AwsSettings): Aws {
  const account = createAccount({ name: 'aws', limit: settings.limit });
  let opened: Promise<Opened> | null = null;
  const open = () => {
    opened ??= import('@aws-sdk/client-ec2').then((sdk) => ({ sdk, client: newClient(sdk, settings) }));
    return opened;
  };

  return {
    account,
    settings,
    ask: async (what, send, options = {}, kind = 'look') => {
      const parts = await open();
      return ask(account, kind, options, () => exchange({ account, settings, ...parts }, what, send, options.signal));
    },
    change: async (what, send, options) => {
      options.signal?.throwIfAborted();
      const parts = await open();
      // Loaded and signed in before the guard, so that little lies between it and the request.
      await signIn(parts, what, settings, options.signal);
      return change(account, options, () => exchange({ account, settings, ...parts }, what, send, undefined));
    },
    close() {
      account.close();
      void opened?.then(({ client }) => client.destroy());
    },
  };
}

/** Credentials of a role are fetched, and fetched again when they expire; the SDK keeps them. */
async function signIn({ client }: Opened, what: string, settings: AwsSettings, signal: AbortSignal | undefined) {
  try {
    await whileWanted(client.config.credentials(), signal);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw toProviderError(what, error, secretsOf(settings), false);
  }
}

/** One request and its answer. @param signal ends the waiting; without one it is waited for whatever happens. */
async function exchange<T>(
  { account, settings, sdk, client }: Opened & Pick<Aws, 'account' | 'settings'>,
  what: string,
  send: (sent: Sent) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<Outcome<T>> {
  const request = new AbortController();
  const timer = setTimeout(() => request.abort(), settings.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const work = send({ sdk, client, abortSignal: request.signal });
  const nothingTold = { limit: null, remaining: null };
  try {
    const answer = await whileWanted(work, signal);
    account.answered(nothingTold);
    return { answer };
  } catch (error) {
    if (signal?.aborted) {
      request.abort();
      work.catch(() => 'nobody waits for it any more');
      account.released(true);
      throw signal.reason;
    }
    const status = statusOf(error);
    const failure = toProviderError(what, error, secretsOf(settings), request.signal.aborted);
    if (isThrottled(error)) {
      // EC2 does not say how long to wait.
      account.answered({ ...nothingTold, refused: true });
      return { throttledFor: account.throttled(null) };
    }
    if (status === undefined || status >= 500) account.failed();
    else account.answered({ ...nothingTold, denied: failure.code === 'AUTHENTICATION_FAILED' });
    throw failure;
  } finally {
    clearTimeout(timer);
  }
}

/** Texts that no error may hold. */
function secretsOf({ credentials }: AwsSettings): string[] {
  return [credentials?.secretAccessKey ?? '', credentials?.sessionToken ?? ''];
}

function newClient(sdk: Sdk, { region, endpoint, credentials }: AwsSettings): EC2Client {
  return new sdk.EC2Client({
    region,
    // We look before we try again.
    maxAttempts: 1,
    ...(endpoint === null ? {} : { endpoint }),
    ...(credentials === null ? {} : { credentials }),
  });
}

/** Whether it is an error of that code of EC2's. */
export function isAwsCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof ProviderError && codes.includes(String(error.details.provider_code));
}

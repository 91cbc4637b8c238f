/** One authenticated SSH connection to one host, directly or through another one, to a host key that is known. */
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Client, ServerHostKeyAlgorithm } from 'ssh2';
import { type Egress, EgressError } from '../outbound/egress.ts';
import { TransportError } from './contract.ts';
import { pace } from './paced.ts';

/** A machine that speaks SSH. */
export interface SshHop {
  /** In a few words, for messages: `web-01 (203.0.113.7)`. */
  name: string;
  /** IP address or host name. */
  address: string;
  port: number;
  user: string;
  /** Its host key as it is kept (`ssh-ed25519 AAAA…`), asked for before each login; null: not known yet. */
  knownKey(): Promise<string | null>;
  /**
   * Called at first sight, with the key in that same form. Keeps it, and answers the one that counts from then on: that
   * of somebody who was faster, where there is one.
   */
  pin(hostKey: string): Promise<string>;
}

/** A host, the key that opens it, and the machine on the way to it where there is one. */
export interface SshTarget extends SshHop {
  /** OpenSSH or PEM, without a passphrase. Opens the jump host too. */
  privateKey: string;
  jump: SshHop | null;
  /** Where connections may go. What is an address is judged also behind a jump host, which resolves names by itself. */
  egress: Egress;
}

/** A freshly started sshd refuses for a moment; so long is tried again what refuses. Milliseconds. */
const REFUSED_FOR_MS = 15_000;
const REFUSED_WAIT_MS = 200;
/** From the first packet to the end of the login. Milliseconds. */
const HANDSHAKE_MS = 15_000;
/** A host that does not answer three of these in a row is gone. Milliseconds. */
const KEEPALIVE_MS = 1_000;
const KEEPALIVE_MISSES = 3;

/** Best first: what is asked for where no key is known. */
const HOST_KEY_ALGORITHMS: readonly ServerHostKeyAlgorithm[] = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
];

/** A live connection. `close` ends it with the one it goes through. */
export interface SshConnection {
  client: Client;
  /** Resolves when it has ended, with the reason where one is known. */
  closed: Promise<Error | null>;
  close(): void;
}

/** @throws TransportError, or the signal's reason. */
export async function connectSsh(target: SshTarget, signal: AbortSignal): Promise<SshConnection> {
  const deadline = performance.now() + REFUSED_FOR_MS;
  for (;;) {
    signal.throwIfAborted();
    try {
      return await connectOnce(target, signal);
    } catch (error) {
      if (!(error instanceof RefusedForNow) || performance.now() > deadline) {
        throw error instanceof RefusedForNow ? error.failure : error;
      }
      await delay(REFUSED_WAIT_MS, undefined, { signal }).catch(() => 'the loop says why');
    }
  }
}

/** What a host does that has just been switched on. */
class RefusedForNow extends Error {
  readonly failure: TransportError;
  constructor(failure: TransportError) {
    super(failure.message);
    this.failure = failure;
  }
}

async function connectOnce(target: SshTarget, signal: AbortSignal): Promise<SshConnection> {
  const { jump, egress } = target;
  for (const hop of jump === null ? [target] : [jump, target]) {
    const refusal = egress.refusal(hop.address);
    if (refusal !== null) throw forbidden(hop, refusal);
  }
  const direct = (hop: SshHop) => () => egress.connect(hop.address, hop.port);
  if (jump === null) return login(target, target, direct(target), signal);
  const first = await login(jump, target, direct(jump), signal);
  try {
    const stream = await forward(first, target, jump);
    const second = await login(target, target, () => stream, signal);
    void second.closed.then(first.close);
    return { ...second, close: () => first.close() };
  } catch (error) {
    first.close();
    throw error;
  }
}

function forward(first: SshConnection, target: SshHop, jump: SshHop): Promise<Duplex> {
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  first.client.forwardOut('127.0.0.1', 0, target.address, target.port, (error, stream) => {
    if (error === undefined) return resolve(stream);
    const why = `${target.name}: ${jump.name} cannot connect to ${target.address} port ${target.port}: ${error.message}.`;
    reject(new RefusedForNow(new TransportError('UNREACHABLE', why, { cause: error })));
  });
  return promise;
}

async function login(
  hop: SshHop,
  { privateKey }: Pick<SshTarget, 'privateKey'>,
  open: () => Duplex,
  signal: AbortSignal,
): Promise<SshConnection> {
  const known = await hop.knownKey();
  // Loaded by the first connection: a start does without it.
  const { default: ssh2 } = await import('ssh2');
  signal.throwIfAborted();
  const client = new ssh2.Client();
  const { promise, resolve, reject } = Promise.withResolvers<SshConnection>();
  const closed = Promise.withResolvers<Error | null>();
  let last: Error | null = null;
  // Set by the look at the host key: ssh2 then only says that it was denied.
  let denied: Error | null = null;

  const close = () => {
    client.end();
    // A host that is gone answers no goodbye.
    client.destroy();
  };
  const onAbort = () => {
    reject(signal.reason);
    close();
  };
  signal.addEventListener('abort', onAbort, { once: true });
  client.on('error', (error) => {
    last = error;
    reject(denied ?? explain(hop, known, error));
  });
  client.on('close', () => {
    reject(denied ?? explain(hop, known, last ?? new Error('Connection lost before handshake')));
    closed.resolve(last);
  });
  const sock = open();
  client.on('ready', () => {
    // What it says of being alive comes behind all else that it says.
    const { _resetKA: alive } = client as unknown as { _resetKA?: () => void };
    pace(sock, alive);
    resolve({ client, closed: closed.promise, close });
  });
  client.connect({
    sock,
    username: hop.user,
    privateKey,
    authHandler: ['publickey'],
    readyTimeout: HANDSHAKE_MS,
    keepaliveInterval: KEEPALIVE_MS,
    keepaliveCountMax: KEEPALIVE_MISSES,
    algorithms: { serverHostKey: algorithmsFor(known) },
    hostVerifier: (blob: Buffer, verify: (valid: boolean) => void) => {
      checkHostKey(hop, known, blob).then(
        () => verify(true),
        (error: Error) => {
          denied = error;
          verify(false);
        },
      );
    },
  });
  client.setNoDelay(true);
  return promise
    .finally(() => signal.removeEventListener('abort', onAbort))
    .catch((error: unknown) => {
      close();
      throw error;
    });
}

async function checkHostKey(hop: SshHop, known: string | null, blob: Buffer): Promise<void> {
  const seen = `${blob.toString('latin1', 4, 4 + blob.readUInt32BE(0))} ${blob.toString('base64')}`;
  const expected = known ?? (await hop.pin(seen));
  if (seen !== expected) throw changedKey(hop);
}

/** Only what the known key can sign with: a host with several keys must show that one. */
function algorithmsFor(hostKey: string | null): ServerHostKeyAlgorithm[] {
  const type = hostKey?.split(' ')[0];
  if (type === undefined) return [...HOST_KEY_ALGORITHMS];
  const fitting = HOST_KEY_ALGORITHMS.filter((name) => (type === 'ssh-rsa' ? name.startsWith('rsa-') : name === type));
  return fitting.length === 0 ? [...HOST_KEY_ALGORITHMS] : fitting;
}

function changedKey({ name }: SshHop): TransportError {
  return new TransportError(
    'HOST_KEY_CHANGED',
    `${name}: its host key has changed. Somebody may be intercepting the connection. Only if the machine was reinstalled, forget the recorded key: DELETE /v1/servers/…/host-key.`,
  );
}

/** Nothing was dialled, and a later try is refused as well. */
function forbidden({ name }: SshHop, refusal: string): TransportError {
  return new TransportError('UNREACHABLE', `${name}: ${refusal}`, { retryable: false });
}

/** ssh2's errors in the contract's words. */
function explain(hop: SshHop, known: string | null, error: Error): Error {
  const { name, address, port, user } = hop;
  const level = 'level' in error ? error.level : undefined;
  const code = 'code' in error ? error.code : undefined;
  if (error instanceof EgressError) return forbidden(hop, error.message);
  if (level === 'client-authentication') {
    return new TransportError(
      'AUTHENTICATION_FAILED',
      `${name}: the user "${user}" cannot log in with the workspace's key. Add the key (GET /v1/workspaces/…/ssh-key) to that user's ~/.ssh/authorized_keys.`,
      { cause: error },
    );
  }
  if (/no matching host key/i.test(error.message) && known !== null) return changedKey(hop);
  const failure = new TransportError(
    'UNREACHABLE',
    `${name}: no SSH connection to ${address} port ${port}: ${error.message}.`,
    { cause: error },
  );
  const refused =
    code === 'ECONNREFUSED' || code === 'ECONNRESET' || code === 'EPIPE' || /before handshake/.test(error.message);
  return refused ? new RefusedForNow(failure) : failure;
}

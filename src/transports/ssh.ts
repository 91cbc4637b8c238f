/** Hosts over SSH: one connection a host, shared by all who work on it, made again when it was lost. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ClientChannel } from 'ssh2';
import { createSlots } from '../util/slots.ts';
import { type Transport, TransportError } from './contract.ts';
import { readAsTaken } from './paced.ts';
import { createShellTransport, type Ended, type Execute, quote } from './shell.ts';
import { connectSsh, type SshConnection, type SshTarget } from './ssh-connection.ts';

/** Commands at once on one connection: an sshd refuses the eleventh (MaxSessions), people want some too. */
const MAX_CHANNELS = 8;
/** Of these so many are kept for ending what runs. */
const URGENT_CHANNELS = 2;
/** A host that has no session free, though not more are open than it bears, is still clearing up. Milliseconds. */
const OPEN_WAIT_MS = 100;
const OPEN_TRIES = 30;
/** How long a channel that is no longer needed may take to close by itself. Milliseconds. */
const CLOSE_AFTER_MS = 500;
/** A connection that nobody uses is given up after this. Milliseconds. */
const IDLE_MS = 60_000;

/** Connections by host. */
export interface SshPool {
  /**
   * A transport over the connection to this host. `key` names the host; another key or another target is another
   * connection. Connects at the first call.
   */
  transport(key: string, target: SshTarget): Transport;
  close(): Promise<void>;
}

export function createSshPool(): SshPool {
  const hosts = new Map<string, SshHost>();
  return {
    transport(key, target) {
      const { name, address, port, user, privateKey, jump } = target;
      // A pinned host key is not among these: the connection that pinned it goes on.
      const id = JSON.stringify([key, name, address, port, user, privateKey, jump?.address, jump?.port, jump?.user]);
      const host = hosts.get(id) ?? createHost(target);
      hosts.set(id, host);
      const release = host.use(() => hosts.delete(id));
      return createShellTransport({
        host: name,
        sudo: user !== 'root',
        execute: host.execute,
        close: async () => release(),
      });
    },
    async close() {
      for (const host of hosts.values()) host.close();
      hosts.clear();
    },
  };
}

interface SshHost {
  execute: Execute;
  /** @returns what to call when it is no longer used. `onIdle` is called a while after the last one was. */
  use(onIdle: () => void): () => void;
  close(): void;
}

function createHost(target: SshTarget): SshHost {
  const slots = createSlots(MAX_CHANNELS, URGENT_CHANNELS);
  let connecting: Promise<SshConnection> | null = null;
  let end = new AbortController();
  let users = 0;
  let idle: NodeJS.Timeout | undefined;

  const connection = (): Promise<SshConnection> => {
    if (connecting !== null) return connecting;
    const made = connectSsh(target, end.signal);
    const forget = () => {
      if (connecting === made) connecting = null;
    };
    made.then(({ closed }) => closed.then(forget), forget);
    connecting = made;
    return made;
  };
  const close = () => {
    end.abort(new TransportError('CONNECTION_LOST', `${target.name}: the connection is being closed.`));
    end = new AbortController();
    void connecting?.then((made) => made.close()).catch(() => 'it was never made');
    connecting = null;
  };

  return {
    async execute(command, io) {
      const release = await slots.take(io.signal, io.urgent);
      let channel: ClientChannel;
      let lost: Promise<Error | null>;
      try {
        const made = await connection();
        io.signal.throwIfAborted();
        lost = made.closed;
        channel = await openChannel(made, command.map(quote).join(' '), target.name, io.signal);
      } catch (error) {
        release();
        throw error;
      }
      channel.once('close', release);
      return follow(channel, io, lost, target.name);
    },
    use(onIdle) {
      users += 1;
      clearTimeout(idle);
      let used = true;
      return () => {
        if (!used) return;
        used = false;
        users -= 1;
        if (users > 0) return;
        idle = setTimeout(() => {
          onIdle();
          close();
        }, IDLE_MS).unref();
      };
    },
    close,
  };
}

/** Nothing runs before its script was sent: what was refused may be asked for again. */
async function openChannel({ client }: SshConnection, command: string, host: string, signal: AbortSignal) {
  for (let tries = 1; ; tries += 1) {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<ClientChannel>();
    try {
      client.exec(command, (error, channel) => (error === undefined ? resolve(channel) : reject(error)));
      return await promise;
    } catch (error) {
      // ssh2 throws "Not connected" where the connection has just ended.
      const words = error instanceof Error ? error.message : String(error);
      if (/open failed/i.test(words) && tries < OPEN_TRIES) {
        await delay(OPEN_WAIT_MS);
        continue;
      }
      throw new TransportError('UNREACHABLE', `${host}: the SSH server does not run the command: ${words}.`, {
        cause: error,
      });
    }
  }
}

/** A channel that closes without a status is a lost connection, never a success. */
async function follow(
  channel: ClientChannel,
  { input, onOutput, signal, onBegun }: Parameters<Execute>[1],
  lost: Promise<Error | null>,
  host: string,
): Promise<Ended> {
  const over = Promise.withResolvers<Ended>();
  let status: Ended | null = null;
  const gone = (why: string, cause?: unknown) =>
    over.reject(
      new TransportError('CONNECTION_LOST', `${host}: the connection was lost while the script ran: ${why}.`, {
        cause,
      }),
    );
  readAsTaken(channel, (chunk) => onOutput('stdout', chunk));
  readAsTaken(channel.stderr, (chunk) => onOutput('stderr', chunk));
  channel.on('exit', (code: number | null, name?: string) => {
    status = { exitCode: code, signal: name === undefined ? null : `SIG${name.replace(/^SIG/, '')}` };
  });
  channel.on('error', (error: Error) => gone(error.message, error));
  channel.on('close', () => (status === null ? gone('the channel closed without a status') : over.resolve(status)));
  void lost.then((error) => gone(error?.message ?? 'it was closed', error));
  const letGo = () => {
    // Most commands end by themselves now. An sshd counts a session until its process has ended, whoever closed it.
    const timer = setTimeout(() => channel.close(), CLOSE_AFTER_MS).unref();
    channel.once('close', () => clearTimeout(timer));
    over.reject(signal.reason);
  };
  signal.addEventListener('abort', letGo, { once: true });
  try {
    if (signal.aborted) letGo();
    else {
      onBegun();
      channel.end(input);
    }
    return await over.promise;
  } finally {
    signal.removeEventListener('abort', letGo);
  }
}

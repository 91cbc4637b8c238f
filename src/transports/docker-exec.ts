/** A container of a Docker or Podman engine as a host: scripts run through `exec`, nothing has to listen in it. */
import { setTimeout as delay } from 'node:timers/promises';
import type Docker from 'dockerode';
import { connect } from '../providers/docker/connection.ts';
import { type Line, type Transport, TransportError } from './contract.ts';
import { createShellTransport, type Ended, type Execute } from './shell.ts';

/** How long the engine may take to say how a command ended whose output has. Milliseconds. */
const STATUS_WAIT_MS = 2_000;
const STATUS_INTERVAL_MS = 20;
/** Tries of beginning a command over a connection that the engine has meanwhile closed, and the wait between them. */
const BEGIN_TRIES = 5;
const BEGIN_WAIT_MS = 50;
/** An exec's output comes in frames: one byte for the stream, three of padding, four for the length. */
const HEADER_BYTES = 8;

/**
 * @param options `engine`: the address, as for the docker provider. `container`: id or name. `host`: for messages.
 * Opens nothing before the first call.
 */
export function createDockerExecTransport(options: { engine: string; container: string; host: string }): Transport {
  const engine = connect(options.engine);
  const container = engine.docker.getContainer(options.container);
  return createShellTransport({
    host: options.host,
    sudo: false,
    execute: executeIn(container, options.host),
    close: async () => engine.close(),
  });
}

/** Podman cuts off what it has not passed on yet when a command ends: the command lingers until that has gone. */
const LINGER = '"$@"; status=$?; sleep 0.2; exit "$status"';

function executeIn(container: Docker.Container, host: string): Execute {
  return async (command, { input, onOutput, signal, onBegun }) => {
    const { exec, stream } = await begin(container, command, host);
    const startedIn = startOf(container);
    const frames = readFrames(onOutput);
    const over = Promise.withResolvers<void>();
    stream.on('data', frames);
    stream.on('error', (error: Error) => over.reject(lost(host, error.message, error)));
    stream.on('close', () => over.resolve());
    stream.on('end', () => over.resolve());
    const letGo = () => {
      stream.destroy();
      over.reject(signal.reason);
    };
    signal.addEventListener('abort', letGo, { once: true });
    try {
      signal.throwIfAborted();
      onBegun();
      stream.end(input);
      await over.promise;
      const status = await statusOf(exec, host);
      // Docker tells the end of the whole container as a killed command.
      if (status.exitCode === 137 && (await startOf(container)) !== (await startedIn)) {
        throw lost(host, 'the container was stopped');
      }
      return status;
    } finally {
      signal.removeEventListener('abort', letGo);
      stream.destroy();
    }
  };
}

/** Safe to try again whatever was lost: nothing runs before its script has been sent. */
async function begin(container: Docker.Container, command: readonly string[], host: string) {
  for (let tries = 1; ; tries += 1) {
    try {
      const exec = await container.exec({
        Cmd: ['/bin/sh', '-c', LINGER, 'sh', ...command],
        User: '0',
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
      });
      return { exec, stream: await exec.start({ hijack: true, stdin: true }) };
    } catch (error) {
      const { status, code, words } = told(error);
      if (tries < BEGIN_TRIES && (code === 'EPIPE' || code === 'ECONNRESET')) {
        await delay(BEGIN_WAIT_MS);
        continue;
      }
      const gone = status === 404;
      const why = gone
        ? 'its container does not exist any more.'
        : `the container engine cannot run a command there: ${words}`;
      throw new TransportError('UNREACHABLE', `${host}: ${why}`, { retryable: !gone, cause: error });
    }
  }
}

/** Which run of the container this is; null when it does not run. */
async function startOf(container: Docker.Container): Promise<string | null> {
  try {
    const { State } = await container.inspect();
    return State.Running ? State.StartedAt : null;
  } catch {
    // Gone, or the engine is: not the same run as before in either case.
    return null;
  }
}

async function statusOf(exec: Docker.Exec, host: string): Promise<Ended> {
  const deadline = performance.now() + STATUS_WAIT_MS;
  for (;;) {
    const state = await exec.inspect().catch((error: unknown) => {
      throw lost(host, told(error).words, error);
    });
    if (!state.Running && state.ExitCode !== null) return { exitCode: state.ExitCode, signal: null };
    if (performance.now() > deadline) throw lost(host, 'the output ended, the command did not');
    await delay(STATUS_INTERVAL_MS);
  }
}

function readFrames(onOutput: (stream: Line['stream'], chunk: Buffer) => void): (chunk: Buffer) => void {
  let header = Buffer.alloc(0);
  let left = 0;
  let stream: Line['stream'] = 'stdout';
  return (chunk) => {
    for (let at = 0; at < chunk.length; ) {
      if (left === 0) {
        const piece = chunk.subarray(at, at + HEADER_BYTES - header.length);
        header = Buffer.concat([header, piece]);
        at += piece.length;
        if (header.length < HEADER_BYTES) return;
        stream = header[0] === 2 ? 'stderr' : 'stdout';
        left = header.readUInt32BE(4);
        header = Buffer.alloc(0);
      } else {
        const piece = chunk.subarray(at, at + left);
        onOutput(stream, piece);
        at += piece.length;
        left -= piece.length;
      }
    }
  };
}

function lost(host: string, why: string, cause?: unknown): TransportError {
  return new TransportError('CONNECTION_LOST', `${host}: the connection to the command was lost: ${why}.`, { cause });
}

/** What the engine said, or the system's code where it could not be asked. */
function told(error: unknown): { status: number | undefined; code: string | undefined; words: string } {
  if (!(error instanceof Error)) return { status: undefined, code: undefined, words: String(error) };
  const status = 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : undefined;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return { status, code, words: error.message.replace(/^\(HTTP code \d+\) [\w ]+ - /, '').trim() };
}

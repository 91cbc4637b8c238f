/**
 * A transport out of one primitive, "execute this fixed command with these bytes on its standard input": what ssh and
 * docker exec have in common.
 */
import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:os';
import { harmlessLine } from '../util/harmless.ts';
import { type Line, type RunOptions, type RunResult, type Transport, TransportError } from './contract.ts';
import { cutLines } from './lines.ts';
import { readScript } from './scripts.ts';

/** Seconds that ending a tree of processes may take: five of them are the processes' own, to end in order. */
export const END_SECONDS = 20;
/** Seconds that an upload may take. */
const UPLOAD_SECONDS = 300;
/** Lines of the host's own words that a message repeats at most. */
const QUOTED_LINES = 5;

/** How a command ended, as the host tells it. */
export interface Ended {
  exitCode: number | null;
  signal: string | null;
}

/** The primitive. */
export type Execute = (
  command: readonly string[],
  io: {
    /** All of its standard input. */
    input: Buffer;
    /** A promise: no more can be taken before it settles. */
    onOutput: (stream: Line['stream'], chunk: Buffer) => Promise<void> | undefined;
    /** Lets go of the command without ending it. */
    signal: AbortSignal;
    /** It ends what runs: where commands wait for each other, it goes first. */
    urgent: boolean;
    /** To be called when the command begins: from then on there may be something to end. */
    onBegun: () => void;
  },
) => Promise<Ended>;

const BOOTSTRAP = readScript('bootstrap');
const FRAME = readScript('frame');
const UPLOAD = readScript('upload');
/** For whoever ends a tree of processes: `$marked` is what marks them. */
export const END_TREE = readScript('end-tree');

/** Marks every process of a run through its environment: by it end-tree.sh finds the whole tree again. */
const MARK = 'PROVISIONING_RUN';

/** @param host in a few words, for messages. `sudo`: the user is not root and becomes it. */
export function createShellTransport(options: {
  host: string;
  sudo: boolean;
  execute: Execute;
  close: () => Promise<void>;
}): Transport {
  const { host } = options;
  const run = (script: string, runOptions: RunOptions) =>
    runScript(options, { id: randomUUID(), script, options: runOptions });

  return {
    host,
    run,
    async upload(content, path, { mode, signal }) {
      const bytes = Buffer.from(content);
      const said: string[] = [];
      const { exitCode } = await run(UPLOAD, {
        env: {
          path,
          mode: mode.toString(8).padStart(4, '0'),
          sum: createHash('sha256').update(bytes).digest('hex'),
        },
        stdin: bytes,
        ...(signal === undefined ? {} : { signal }),
        timeoutSeconds: UPLOAD_SECONDS,
        onLine: ({ text }) => keepSome(said, text),
        label: 'upload',
      });
      if (exitCode !== 0) throw failed(host, `could not write ${path}`, said);
    },
    close: options.close,
  };
}

interface Shell {
  host: string;
  sudo: boolean;
  execute: Execute;
}

async function runScript(
  shell: Shell,
  { id, script, options, urgent = false }: { id: string; script: string; options: RunOptions; urgent?: boolean },
): Promise<RunResult> {
  const { signal, timeoutSeconds, label = 'a script' } = options;
  signal?.throwIfAborted();
  const { host } = shell;
  const timedOut = new AbortController();
  const timer = setTimeout(() => {
    timedOut.abort(
      new TransportError('TIMEOUT', `${host}: ${label} did not end within ${timeoutSeconds} s and was stopped.`),
    );
  }, timeoutSeconds * 1_000);
  const interrupted = signal === undefined ? timedOut.signal : AbortSignal.any([signal, timedOut.signal]);
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(interrupted.reason);
  interrupted.addEventListener('abort', onAbort, { once: true });
  const letGo = new AbortController();
  let begun = false;
  const onBegun = () => {
    begun = true;
  };
  const reader = readOutput(id, options);
  try {
    const { command, input } = commandOf(shell, id, script, options);
    const ended = shell.execute(command, { input, onOutput: reader.onOutput, signal: letGo.signal, urgent, onBegun });
    const { exitCode, signal: killedBy } = await Promise.race([reader.ended, ended, aborted.promise]);
    reader.end();
    if (!reader.begun()) throw neverBegan(shell, reader.said());
    return resultOf(exitCode, killedBy);
  } catch (error) {
    reader.mute();
    if (!interrupted.aborted) throw error;
    if (begun)
      await endTree(shell, id).catch((cause: unknown) => {
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new TransportError(
          'CONNECTION_LOST',
          `${host}: ${label} could not be stopped and may still be running: ${why}`,
          {
            cause,
            retryable: false,
          },
        );
      });
    throw interrupted.reason;
  } finally {
    clearTimeout(timer);
    interrupted.removeEventListener('abort', onAbort);
    letGo.abort();
  }
}

function commandOf(
  shell: Shell,
  id: string,
  script: string,
  { env = {}, stdin = '' }: Pick<RunOptions, 'env' | 'stdin'>,
): { command: string[]; input: Buffer } {
  const text = Buffer.from(`${exportsOf(env)}${script}\n#end ${id}`);
  return {
    command: [
      ...(shell.sudo ? ['sudo', '-n', '--'] : []),
      ...['env', `${MARK}=${id}`, 'sh', '-c', FRAME, 'provisioning', BOOTSTRAP, id, String(text.length)],
    ],
    input: Buffer.concat([text, Buffer.from(stdin)]),
  };
}

const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** @throws TransportError FAILED naming a variable that no environment can hold. Never its value. */
export function exportsOf(env: Record<string, string>): string {
  return Object.entries(env)
    .map(([name, value]) => {
      if (!ENV_NAME.test(name) || value.includes('\0')) {
        throw new TransportError(
          'FAILED',
          `The environment variable ${JSON.stringify(name)} has an invalid name or value.`,
        );
      }
      return `export ${name}=${quote(value)}\n`;
    })
    .join('');
}

/** For a POSIX shell: nothing inside is special. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Parts the script's own lines from what is around them: a login banner, sudo's refusal, BOOTSTRAP's and FRAME's. */
function readOutput(id: string, { onLine, raw = false }: Pick<RunOptions, 'onLine' | 'raw'>) {
  const before: string[] = [];
  const ended = Promise.withResolvers<Ended>();
  const marker = `provisioning-end ${id} `;
  let begun = false;
  let muted = false;
  let endsSeen = 0;
  /** The last line that was told is still being taken. */
  let taking: Promise<void> | undefined;

  const tell = (line: Line) => {
    if (muted) return;
    if (begun) {
      const told = onLine?.(raw ? line : { ...line, text: harmlessLine(line.text) });
      taking = told instanceof Promise ? told : undefined;
    } else if (line.text !== '') keepSome(before, line.text);
  };
  const read = (stream: Line['stream']) => {
    // FRAME's marker begins with a line end: the empty line that this may make is not the script's.
    let empty: Line | null = null;
    let over = false;
    const flush = () => {
      if (empty !== null) tell(empty);
      empty = null;
    };
    const cutter = cutLines(stream, (line) => {
      if (over) return;
      if (line.text.startsWith(marker)) {
        over = true;
        endsSeen += 1;
        if (endsSeen === 2) ended.resolve({ exitCode: Number(line.text.slice(marker.length)), signal: null });
        return;
      }
      flush();
      if (line.text === `provisioning-run ${id}`) begun = true;
      else if (line.text === '') empty = line;
      else tell(line);
    });
    return {
      push: cutter.push,
      end: () => {
        cutter.end();
        if (!over) flush();
      },
    };
  };
  const streams = { stdout: read('stdout'), stderr: read('stderr') };
  return {
    /** Resolves once both streams have come to the script's end. */
    ended: ended.promise,
    onOutput: (stream: Line['stream'], chunk: Buffer) => {
      taking = undefined;
      streams[stream].push(chunk);
      return taking;
    },
    end: () => {
      streams.stdout.end();
      streams.stderr.end();
    },
    mute: () => {
      muted = true;
    },
    begun: () => begun,
    said: () => before,
  };
}

function neverBegan({ host, sudo }: Shell, said: string[]): TransportError {
  if (sudo && said.some((line) => /sudo/.test(line))) {
    return new TransportError(
      'AUTHENTICATION_FAILED',
      `${host}: the user cannot become root without a password (${said.join(' ')}). Allow this in /etc/sudoers.d with NOPASSWD:ALL, or connect as root.`,
    );
  }
  return failed(host, 'the script was not begun', said);
}

/** Keeps a line for a message, of the first few: a host may say as much as it likes. */
export function keepSome(said: string[], text: string): void {
  if (said.length < QUOTED_LINES) said.push(text);
}

function failed(host: string, what: string, said: string[]): TransportError {
  const words = said.join(' ').slice(0, 1_000);
  return new TransportError('FAILED', `${host}: ${what}${words === '' ? '.' : `: ${words}`}`);
}

const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** The contract's form of how a command ended. */
export function resultOf(exitCode: number | null, signal: string | null): RunResult {
  if (signal !== null) return { exitCode: null, signal };
  const name = exitCode !== null && exitCode > 128 ? SIGNALS.get(exitCode - 128) : undefined;
  return name === undefined ? { exitCode, signal: null } : { exitCode: null, signal: name };
}

/**
 * Ends every process of the run `id`: those that carry its mark in their environment, all below them, and all in their
 * sessions. They get five seconds to end in order. Returns when none is left.
 */
async function endTree(shell: Shell, id: string): Promise<void> {
  const said: string[] = [];
  const killer = randomUUID();
  const { exitCode } = await runScript(shell, {
    id: killer,
    urgent: true,
    script: END_TREE,
    options: {
      env: { marked: id },
      timeoutSeconds: END_SECONDS,
      onLine: ({ text }) => keepSome(said, text),
      label: 'ending a script',
    },
  });
  if (exitCode !== 0) throw failed(shell.host, 'processes are left', said);
}

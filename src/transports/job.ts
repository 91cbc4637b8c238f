/**
 * Long scripts. A job runs detached on its host, in a directory of its own; whoever has its id attaches to it, as often
 * as need be. A lost connection or a crash of this process therefore never runs it twice.
 */
import { backoff } from '../util/backoff.ts';
import { harmlessLine } from '../util/harmless.ts';
import { sleep } from '../util/sleep.ts';
import { type Job, type Line, type RunResult, type Transport, TransportError } from './contract.ts';
import { readScript } from './scripts.ts';
import { END_SECONDS, END_TREE, exportsOf, keepSome, quote, resultOf } from './shell.ts';

/** Where jobs lie on a host, each with: script, env (gone once read), log, claim, exit. */
const JOBS = '/var/lib/provisioning/jobs';
/** Waits between tries to attach again. Milliseconds. */
const RECONNECT_WAITS = { first: 200, most: 5_000 };
/** Seconds beyond the job's own time in which a host must have said that it knows the job. */
const ATTACH_MARGIN = 30;
const ATTACH = readScript('attach');
const RUNNER = readScript('job-runner');
const ID = /^[A-Za-z0-9_-]{1,100}$/;

/**
 * Runs the job on the transport's host, or attaches to it where its id has run there before, and resolves with how it
 * ended. A connection that is lost once the job is known to run is made again within the job's time.
 * @throws TransportError: TIMEOUT after the job was ended for it; FAILED where the host cannot keep jobs, or restarted
 * while this one ran; the signal's reason.
 */
export async function runJob(transport: Transport, job: Job): Promise<RunResult> {
  if (!ID.test(job.id)) throw new TransportError('FAILED', `"${job.id}" is no job id: 1 to 100 of A-Za-z0-9_-.`);
  if (transport.runJob !== undefined) return transport.runJob(job);
  job.signal?.throwIfAborted();
  const stop = new AbortController();
  const onAbort = () => stop.abort(job.signal?.reason);
  job.signal?.addEventListener('abort', onAbort, { once: true });
  const time = createDeadline(job.timeoutSeconds + ATTACH_MARGIN, () => stop.abort(overdue(transport, job)));
  const follower = followJob(transport.host, job, (elapsed) => time.bringForward(job.timeoutSeconds - elapsed));
  try {
    return await attachUntilEnd(transport, job, follower, stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    if (!isHandOver(stop.signal.reason)) await endJob(transport, job);
    throw stop.signal.reason;
  } finally {
    time.clear();
    job.signal?.removeEventListener('abort', onAbort);
  }
}

/** Whether a job of that id was begun on the host, by whomever: then `runJob` only attaches to it. @throws as `run`. */
export async function isJobBegun(transport: Transport, id: string, signal: AbortSignal): Promise<boolean> {
  if (transport.isJobBegun !== undefined) return transport.isJobBegun(id);
  const { exitCode } = await transport.run('[ -d "$directory" ]', {
    env: { directory: `${JOBS}/${id}` },
    signal,
    timeoutSeconds: ATTACH_MARGIN,
    label: 'look for a job',
  });
  return exitCode === 0;
}

/** Where the host keeps what a job has said. */
export function logOfJob(id: string): string {
  return `${JOBS}/${id}/log`;
}

async function attachUntilEnd(
  transport: Transport,
  job: Job,
  follower: Follower,
  signal: AbortSignal,
): Promise<RunResult> {
  for (let tries = 1; ; tries += 1) {
    try {
      const { exitCode } = await transport.run(attachScript(job, follower.next()), {
        signal,
        timeoutSeconds: job.timeoutSeconds + 2 * ATTACH_MARGIN,
        onLine: follower.onLine,
        raw: true,
        label: job.label ?? 'a job',
      });
      return follower.result(exitCode);
    } catch (error) {
      const worthwhile = error instanceof TransportError && error.retryable && follower.running();
      if (signal.aborted || !worthwhile) throw error;
      if (follower.progressed()) tries = 1;
      await sleep(backoff(tries, RECONNECT_WAITS), signal);
    }
  }
}

function attachScript(job: Job, from: number): string {
  const given = { id: job.id, jobs: JOBS, from: String(from), runner: RUNNER };
  // Not exported: no process started by ATTACH carries them in its environment.
  const variables = Object.entries({ ...given, job_script: job.script, job_env: exportsOf(job.env) });
  return `${variables.map(([name, value]) => `${name}=${quote(value)}\n`).join('')}${ATTACH}`;
}

function overdue({ host }: Transport, { label = 'the job', timeoutSeconds }: Job): TransportError {
  return new TransportError('TIMEOUT', `${host}: ${label} did not end within ${timeoutSeconds} s and was stopped.`);
}

/** A timer that can be brought forward, and not put off: hosts say how long their jobs have run. Seconds from now. */
function createDeadline(seconds: number, onDue: () => void) {
  let due = performance.now() + seconds * 1_000;
  let timer = setTimeout(onDue, seconds * 1_000);
  return {
    bringForward(left: number) {
      const wanted = performance.now() + Math.max(0, left) * 1_000;
      if (!(wanted < due)) return;
      due = wanted;
      clearTimeout(timer);
      timer = setTimeout(onDue, Math.max(0, left) * 1_000);
    },
    clear: () => clearTimeout(timer),
  };
}

function isHandOver(reason: unknown): boolean {
  return reason instanceof Error && 'code' in reason && reason.code === 'HANDED_OVER';
}

/** Ends what the job has started. Its own record of how it ended stays. */
async function endJob(transport: Transport, job: Job): Promise<void> {
  const said: string[] = [];
  let cause: unknown;
  try {
    const { exitCode } = await transport.run(END_TREE, {
      env: { marked: `job-${job.id}` },
      timeoutSeconds: END_SECONDS,
      onLine: ({ text }) => keepSome(said, text),
      label: 'ending a job',
    });
    if (exitCode === 0) return;
  } catch (error) {
    cause = error;
    said.push(error instanceof Error ? error.message : String(error));
  }
  throw new TransportError(
    'CONNECTION_LOST',
    `${transport.host}: ${job.label ?? 'the job'} could not be stopped and may still be running: ${said.join(' ')}`,
    { retryable: false, cause },
  );
}

interface Follower {
  onLine(line: Line): unknown;
  /** Whether an attachment has found or begun the job. */
  running(): boolean;
  /** Number of the first line not yet seen. */
  next(): number;
  /** Whether anything arrived since this was last asked. */
  progressed(): boolean;
  /** @throws when the attachment ended without the job's end. */
  result(exitCode: number | null): RunResult;
}

/** Reads what ATTACH prints: `s` age, `o` and `e` lines of the job, `x` its status, `l` lost. On stderr: complaints. */
function followJob(host: string, job: Job, onFound: (elapsed: number) => void): Follower {
  const label = job.label ?? 'the job';
  let seen = (job.fromLine ?? 1) - 1;
  let running = false;
  let status: number | null = null;
  let lost = false;
  let arrived = false;
  let goesOn: Line['stream'] | null = null;
  const complaints: string[] = [];

  const tell = (line: Line) => {
    goesOn = line.partial === undefined ? null : line.stream;
    return job.onLine?.({ ...line, text: harmlessLine(line.text) }, seen);
  };
  const onStdout = (line: Line): unknown => {
    arrived = true;
    if (goesOn !== null) return tell({ ...line, stream: goesOn });
    const tag = line.text.charAt(0);
    const text = line.text.slice(1);
    if (tag === 'o' || tag === 'e') {
      seen += 1;
      return tell({ ...line, stream: tag === 'o' ? 'stdout' : 'stderr', text });
    }
    if (tag === 's') {
      running = true;
      onFound(Number(text));
    } else if (tag === 'x') status = Number(text);
    else if (tag === 'l') lost = true;
    return undefined;
  };

  return {
    onLine: (line) => {
      if (line.stream === 'stdout') return onStdout(line);
      return keepSome(complaints, line.text);
    },
    running: () => running,
    next: () => {
      // A line cut off in its middle comes whole again.
      if (goesOn !== null) seen -= 1;
      goesOn = null;
      return seen + 1;
    },
    progressed: () => {
      const was = arrived;
      arrived = false;
      return was;
    },
    result: (exitCode) => {
      if (status !== null) return resultOf(status, null);
      const words = complaints.join(' ').slice(0, 1_000);
      const what = lost
        ? 'was cut off: the host restarted, its disk is full, or somebody ended it'
        : `could not be begun there (status ${exitCode})`;
      throw new TransportError('FAILED', `${host}: ${label} ${what}. ${words}`.trim());
    },
  };
}

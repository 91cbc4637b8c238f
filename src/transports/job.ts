/**
 * Long scripts. A job runs detached on its host, in a directory of its own; whoever has its id attaches to it, as often
 * as need be. A lost connection or a crash of this process therefore never runs it twice.
 */
import { backoff } from '../util/backoff.ts';
import { harmlessLine } from '../util/harmless.ts';
import { sleep } from '../util/sleep.ts';
import { type Job, type Line, type RunResult, type Transport, TransportError } from './contract.ts';
import { END_SECONDS, END_TREE, exportsOf, quote, resultOf } from './shell.ts';

/** Where jobs lie on a host, each with: script, env (gone once read), log, claim, exit. */
const JOBS = '/var/lib/provisioning/jobs';
/** Waits between tries to attach again. Milliseconds. */
const RECONNECT_WAITS = { first: 200, most: 5_000 };
/** Seconds beyond the job's own time in which a host must have said that it knows the job. */
const ATTACH_MARGIN = 30;
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
  const follower = followJob(transport.host, job, (elapsed) => time.set(job.timeoutSeconds - elapsed));
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

/** A timer that can be set anew. Seconds from now. */
function createDeadline(seconds: number, onDue: () => void) {
  let timer = setTimeout(onDue, seconds * 1_000);
  return {
    set(left: number) {
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
      onLine: ({ text }) => said.push(text),
      label: 'ending a job',
    });
    if (exitCode === 0) return;
  } catch (error) {
    cause = error;
    said.push(error instanceof Error ? error.message : String(error));
  }
  throw new TransportError(
    'CONNECTION_LOST',
    `${transport.host}: ${job.label ?? 'the job'} could not be stopped and may go on: ${said.join(' ')}`,
    { retryable: false, cause },
  );
}

interface Follower {
  onLine(line: Line): void;
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
    job.onLine?.({ ...line, text: harmlessLine(line.text) }, seen);
    goesOn = line.partial === undefined ? null : line.stream;
  };
  const onStdout = (line: Line) => {
    arrived = true;
    if (goesOn !== null) return tell({ ...line, stream: goesOn });
    const tag = line.text.charAt(0);
    const text = line.text.slice(1);
    if (tag === 'o' || tag === 'e') {
      seen += 1;
      tell({ ...line, stream: tag === 'o' ? 'stdout' : 'stderr', text });
    } else if (tag === 's') {
      running = true;
      onFound(Number(text));
    } else if (tag === 'x') status = Number(text);
    else if (tag === 'l') lost = true;
  };

  return {
    onLine: (line) => {
      if (line.stream === 'stdout') onStdout(line);
      else complaints.push(line.text);
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
      const words = complaints.slice(0, 5).join(' ').slice(0, 1_000);
      const what = lost
        ? 'was cut off: the host restarted, its disk is full, or somebody ended it'
        : `could not be begun there (status ${exitCode})`;
      throw new TransportError('FAILED', `${host}: ${label} ${what}. ${words}`.trim());
    },
  };
}

/**
 * Begins the job unless it was begun, then prints its log from line $from on until its end. Its directory appears whole
 * by a rename, and whoever makes the link `claim` runs it: any number of these scripts at once begin it once.
 */
const ATTACH = `
set -eu
umask 077
directory=$jobs/$id
if [ ! -d "$directory" ]; then
  # What else lies beside the jobs is not theirs to close.
  (umask 022 && mkdir -p "\${jobs%/*}")
  mkdir -p "$jobs"
  made=$(mktemp -d "$jobs/.new-XXXXXX")
  trap 'rm -rf "$made"' EXIT
  # Not by the shell itself: of a full disk it says no more than "I/O error".
  printf '%s\\n' "$job_script" | cat >"$made/script"
  printf '%s\\n' "$job_env" | cat >"$made/env"
  printf '%s\\n' "$runner" | cat >"$made/runner"
  date +%s >"$made/started"
  : >"$made/log"
  mv -T "$made" "$directory" 2>/dev/null || { rm -rf "$made"; [ -d "$directory" ]; }
fi
cd "$directory"
echo "s$(($(date +%s) - $(cat started)))"
if [ ! -e claim ]; then (unset PROVISIONING_RUN; setsid sh ./runner "$id" >/dev/null 2>&1 </dev/null &); fi
alive() {
  read -r boot pid begun <claim || return 1
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 1
  [ "$begun" = "$(sed 's/^.*) //' "/proc/$pid/stat" | cut -d ' ' -f 20)" ]
}
fifo=$directory/follow-$$
mkfifo "$fifo"
# Not every file system tells tail of new lines: it has to look. BusyBox knows whole seconds alone.
often=0.05
tail -s "$often" -n 0 /dev/null 2>/dev/null || often=1
tail -s "$often" -n "+$from" -f log >"$fifo" 2>/dev/null &
tail_pid=$!
(
  misses=0
  while [ "$misses" -lt 2 ]; do
    sleep 1
    if ! kill -0 $$; then kill "$tail_pid"; rm -f "$fifo"; exit; fi
    if [ -e exit ] || alive; then misses=0; else misses=$((misses + 1)); fi
  done
  echo l >"$fifo"
) >/dev/null 2>&1 </dev/null &
watcher=$!
trap 'kill "$tail_pid" "$watcher" 2>/dev/null || :; rm -f "$fifo"' EXIT
while IFS= read -r line; do
  printf '%s\\n' "$line"
  case $line in x* | l*) break ;; esac
done <"$fifo"
`;

/** What stays on the host: claims the job, runs it, and writes down its lines and its end. */
const RUNNER = `
id=$1
umask 077
begun=$(sed 's/^.*) //' "/proc/$$/stat" | cut -d ' ' -f 20)
echo "$(cat /proc/sys/kernel/random/boot_id) $$ $begun" >"claim-$$"
ln "claim-$$" claim || { rm -f "claim-$$"; exit; }
rm -f "claim-$$"
mark="end of $id $(cat /proc/sys/kernel/random/uuid)"
write_down() {
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      *"$mark")
        line=\${line%"$mark"}
        if [ -n "$line" ]; then printf '%s%s\\n' "$1" "$line"; fi
        return ;;
    esac
    printf '%s%s\\n' "$1" "$line"
  done
}
mkfifo out err
write_down o <out >>log &
write_down e <err >>log &
exec 8>out 9>err
(
  exec >&8 2>&9 8>&- 9>&-
  . ./env
  rm -f env
  umask 022
  PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  export PATH
  script=$PWD/script
  cd /
  PROVISIONING_RUN=job-$id exec setsid sh "$script"
) </dev/null &
wait $!
status=$?
printf '%s\\n' "$mark" >&8
printf '%s\\n' "$mark" >&9
wait
exec 8>&- 9>&-
echo "$status" >exit.new && mv exit.new exit
echo "x$status" >>log
rm -f out err script env runner
find .. -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} +
`;

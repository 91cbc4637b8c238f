/**
 * Evaluates what users wrote (YAML, JSON Schema, patterns, expressions, graphs) in a few threads, each with a bounded
 * heap, so that however long it takes the server goes on answering everybody else. One budget for a whole request or run;
 * past it the thread is ended and the caller gets 400 TOO_COSTLY with the place. Nobody holds all threads: what one user
 * asks for waits behind itself.
 */
import { getCompileCacheDir } from 'node:module';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { errors } from '../errors.ts';
import { EVALUATOR } from '../root.ts';
import { type Request, type Response, readPlace, type ThreadData } from './thread.ts';

/** Megabytes. Planning the largest workflow that there may be takes some 60. */
const HEAP = { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 32, stackSizeMb: 4 };
/** What one request may spend: milliseconds of processor time, and units of work (meter.ts). */
const REQUEST = { milliseconds: 3_000, work: 10_000_000 };
/** What a run of a workflow may spend as long as one process carries it out; one evaluation of it as much as a request. */
const RUN = { milliseconds: 30_000, work: 100_000_000 };
/** On a busy machine a thread waits for a processor: so many times its processor time may pass by the clock. */
const CLOCK_FACTOR = 5;
/** Milliseconds in which a thread must have begun to answer. */
const START_MS = 60_000;
/** Evaluations of one user that wait, and how long they do. A run's wait as long as it takes: it asks for one at a time. */
const MAX_WAITING = 64;
const MAX_WAIT_MS = 30_000;
/** Bytes of a place's text. */
const PLACE_BYTES = 1_024;

/** What is left to spend. One for all evaluations of a request, or of a run. */
export interface Budget {
  /** Whose it is: evaluations of one user wait for each other. */
  owner: string;
  milliseconds: number;
  work: number;
  /** Whether an evaluation may wait as long as it takes for its turn. */
  patient: boolean;
  /** Nobody waits for an answer any more. */
  signal?: AbortSignal;
}

export function requestBudget(owner: string): Budget {
  return { owner, ...REQUEST, patient: false };
}

/** For what is evaluated once for everybody who asks for it, such as the files of a workspace. */
export function sharedBudget(owner: string): Budget {
  return { owner, ...REQUEST, patient: true };
}

/** @param signal ends what waits for its turn. */
export function runBudget(owner: string, signal?: AbortSignal): Budget {
  return { owner, ...RUN, patient: true, ...(signal === undefined ? {} : { signal }) };
}

interface Job {
  request: Omit<Request, 'work'>;
  budget: Budget;
  /** What is named where the thread has noted no place. */
  place: string;
  answer: PromiseWithResolvers<string | undefined>;
  /** Gives up waiting. */
  timer: NodeJS.Timeout | undefined;
}

interface Thread {
  worker: Worker;
  place: SharedArrayBuffer;
  job: Job | null;
  /** Why it is being ended; null: it is not. */
  ending: string | null;
  /** Milliseconds of processor time until its last answer; null: it is starting. */
  processor: number | null;
  /** Of the job. */
  timers: NodeJS.Timeout[];
}

const threads = new Set<Thread>();
/** By owner, the one whose turn it is first. */
const waiting = new Map<string, Job[]>();
const provided: Record<string, unknown> = {};
let size = defaultThreads();

/** On few processors two, so that one user never holds all of them; they run at a lower priority than the server. */
export function defaultThreads(): number {
  return Math.min(4, Math.max(2, availableParallelism() - 1));
}

/** Sets how many threads there may be. */
export function limitEvaluation(threadCount: number): void {
  size = threadCount;
}

/** Gives plain data to all threads that start from here on. */
export function provideToThreads(name: string, value: unknown): void {
  provided[name] = value;
}

/**
 * Runs a task of src/evaluator.ts in a thread. Input and answer are what JSON can hold.
 * @param place what is evaluated, named where nothing nearer is known.
 * @throws 400 TOO_COSTLY past the budget; 429 where too many evaluations of its owner wait already.
 */
export async function evaluate<Task extends (input: never) => unknown>(
  task: string,
  input: Parameters<Task>[0],
  budget: Budget,
  place: string,
): Promise<ReturnType<Task>> {
  const job: Job = {
    request: { task, input: JSON.stringify(input) },
    budget,
    place,
    answer: Promise.withResolvers(),
    timer: undefined,
  };
  const stop = () => giveUp(job, budget.signal?.reason);
  budget.signal?.throwIfAborted();
  budget.signal?.addEventListener('abort', stop, { once: true });
  enqueue(job);
  dispatch();
  const output = await job.answer.promise.finally(() => budget.signal?.removeEventListener('abort', stop));
  return (output === undefined ? undefined : JSON.parse(output)) as ReturnType<Task>;
}

/** Ends all threads. What is asked for later starts new ones. */
export async function closeEvaluation(): Promise<void> {
  const left = [...waiting.values()].flat();
  waiting.clear();
  for (const { answer, timer } of left) {
    clearTimeout(timer);
    answer.reject(errors.unavailable('This server is stopping.'));
  }
  await Promise.all([...threads].map((thread) => end(thread, 'this server is stopping')));
}

function enqueue(job: Job): void {
  const { owner, patient } = job.budget;
  const own = waiting.get(owner) ?? [];
  if (!patient) {
    if (own.length >= MAX_WAITING) throw errors.rateLimited(1);
    job.timer = setTimeout(() => giveUp(job, errors.rateLimited(1)), MAX_WAIT_MS);
  }
  own.push(job);
  waiting.set(owner, own);
}

function giveUp(job: Job, reason: unknown): void {
  const own = waiting.get(job.budget.owner) ?? [];
  const place = own.indexOf(job);
  if (place === -1) return;
  own.splice(place, 1);
  if (own.length === 0) waiting.delete(job.budget.owner);
  job.answer.reject(reason);
}

function dispatch(): void {
  for (;;) {
    const idle = [...threads].find(({ job, ending }) => job === null && ending === null);
    if (idle === undefined && threads.size >= size) return;
    const job = takeNext();
    if (job === undefined) return;
    clearTimeout(job.timer);
    if (isSpent(job.budget))
      job.answer.reject(errors.tooCostly(job.place, 'what came before it has used up the budget'));
    else begin(idle ?? start(), job);
  }
}

/** The next job of the owner whose turn it is and who does not hold all threads but one already. */
function takeNext(): Job | undefined {
  const held = new Map<string, number>();
  for (const { job } of threads) if (job !== null) held.set(job.budget.owner, (held.get(job.budget.owner) ?? 0) + 1);
  for (const [owner, jobs] of waiting) {
    if ((held.get(owner) ?? 0) >= Math.max(1, size - 1)) continue;
    const job = jobs.shift();
    waiting.delete(owner);
    if (jobs.length > 0) waiting.set(owner, jobs);
    if (job !== undefined) return job;
  }
  return undefined;
}

function start(): Thread {
  const place = new SharedArrayBuffer(Uint32Array.BYTES_PER_ELEMENT + PLACE_BYTES);
  const data: ThreadData = { place, compileCache: getCompileCacheDir(), provided };
  const worker = new Worker(EVALUATOR, { workerData: data, resourceLimits: HEAP, env: {}, execArgv: [] });
  const thread: Thread = { worker, place, job: null, ending: null, processor: null, timers: [] };
  threads.add(thread);
  worker.on('message', (message: number | Response) => {
    if (typeof message === 'number') {
      thread.processor = message;
      if (thread.job !== null) watch(thread, thread.job);
    } else settle(thread, message);
  });
  worker.on('error', (error: Error & { code?: string }) => {
    if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') thread.ending ??= 'it takes more memory than an evaluation may have';
    else fail(thread, error);
  });
  worker.on('exit', () => {
    threads.delete(thread);
    fail(thread, tooCostly(thread));
    dispatch();
  });
  return thread;
}

function begin(thread: Thread, job: Job): void {
  const { budget, request } = job;
  thread.job = job;
  thread.worker.ref();
  new Uint32Array(thread.place, 0, 1)[0] = 0;
  thread.worker.postMessage({ ...request, work: Math.min(budget.work, REQUEST.work) } satisfies Request);
  if (thread.processor !== null) watch(thread, job);
  else thread.timers.push(setTimeout(() => void end(thread, 'its thread did not start in time'), START_MS));
}

/** Ends the thread when the job's time is over: by its processor time where that is known, else by the clock. */
function watch(thread: Thread, { budget }: Job): void {
  clearTimers(thread);
  const allowed = Math.min(budget.milliseconds, REQUEST.milliseconds);
  const before = thread.processor ?? 0;
  const over = () => void end(thread, `it takes longer than ${(allowed / 1_000).toFixed(1)} s`);
  const look = async () => {
    const job = thread.job;
    const usage = await thread.worker.cpuUsage?.();
    if (thread.job !== job || thread.ending !== null) return;
    const used = usage === undefined ? allowed : (usage.user + usage.system) / 1_000 - before;
    if (used >= allowed) over();
    else lookIn(Math.max(MIN_LOOK_MS, allowed - used));
  };
  const lookIn = (milliseconds: number) => {
    // A thread that has ended meanwhile has no processor time to tell.
    thread.timers.push(setTimeout(() => void look().catch(() => 'its exit settles the job'), milliseconds));
  };
  lookIn(allowed);
  thread.timers.push(setTimeout(over, CLOCK_FACTOR * allowed));
}

const MIN_LOOK_MS = 20;

function clearTimers({ timers }: Thread): void {
  for (const timer of timers.splice(0)) clearTimeout(timer);
}

/** The thread is free for another job. */
function release(thread: Thread): Job | null {
  const { job } = thread;
  clearTimers(thread);
  thread.job = null;
  thread.worker.unref();
  return job;
}

function settle(thread: Thread, { output, tooCostly: costly, failure, spent, processor }: Response): void {
  const used = processor - (thread.processor ?? 0);
  thread.processor = processor;
  // It was over in the moment in which the thread was ended: the end settles it.
  if (thread.ending !== null) return;
  const job = release(thread);
  if (job === null) return;
  job.budget.milliseconds -= used;
  job.budget.work -= spent;
  if (costly !== undefined) {
    exhaust(job.budget);
    job.answer.reject(errors.tooCostly(costly.place === '' ? job.place : costly.place, costly.reason));
  } else if (failure !== undefined) {
    const error = new Error(failure.message);
    if (failure.stack !== undefined) error.stack = failure.stack;
    job.answer.reject(error);
  } else job.answer.resolve(output);
  dispatch();
}

function end(thread: Thread, reason: string): Promise<unknown> {
  thread.ending ??= reason;
  return thread.worker.terminate();
}

function fail(thread: Thread, error: Error): void {
  const job = release(thread);
  if (job === null) return;
  exhaust(job.budget);
  job.answer.reject(error);
}

function tooCostly({ place, ending, job }: Thread): Error {
  const noted = readPlace(place);
  return errors.tooCostly(noted === '' ? (job?.place ?? '') : noted, ending ?? 'its thread ended');
}

/** Whether nothing can be evaluated on it any more. */
export function isSpent({ milliseconds, work }: Budget): boolean {
  return milliseconds <= 0 || work <= 0;
}

/** What was too costly once is not tried again in parts. */
function exhaust(budget: Budget): void {
  budget.milliseconds = 0;
  budget.work = 0;
}

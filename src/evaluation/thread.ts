/** The side of the pool that evaluates: what runs in each of its threads. */
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { pathText } from '../documents/json.ts';
import { CostError, measure, metered } from './meter.ts';

/** Niceness: answering others goes first where processors are short. Only Linux has one for a single thread. */
const NICENESS = 5;
/** Characters of an answer at most: the server reads it whole, and answers nobody else meanwhile. */
const MAX_ANSWER = 8_000_000;

/** What can be asked for, by name. Pure: takes and answers what JSON can hold. */
// biome-ignore lint/suspicious/noExplicitAny: each has its own type of input, which the one who asks knows
export type Tasks = Readonly<Record<string, (input: any) => unknown>>;

/** What a thread is started with. */
export interface ThreadData {
  /** Shared: the text of the place that is evaluated, behind its length. */
  place: SharedArrayBuffer;
  /** Where compiled code is kept; undefined: nowhere. */
  compileCache: string | undefined;
  /** What sections give to all threads, by name. */
  provided: Record<string, unknown>;
}

/** A task as the server sends it. `input` is JSON: texts are handed over faster than objects. */
export interface Request {
  task: string;
  input: string;
  /** Units of work that it may spend. */
  work: number;
}

/** Its answer. */
export interface Response {
  /** JSON; undefined: the task answers nothing. */
  output?: string | undefined;
  tooCostly?: { place: string; reason: string };
  /** A bug. */
  failure?: { message: string; stack: string | undefined };
  spent: number;
  /** Milliseconds of processor time of the thread since its start. */
  processor: number;
}

/** What a thread was started with. */
export function threadData(): ThreadData {
  return workerData as ThreadData;
}

/** Answers tasks until the thread is ended. */
export function serveTasks(tasks: Tasks): void {
  const port = parentPort;
  if (port === null) throw new Error('this module is for threads of the pool');
  if (process.platform === 'linux') setPriority(NICENESS);
  const note = placeWriter(threadData().place);
  port.on('message', (request: Request) => port.postMessage(answer(tasks, request, note)));
  port.postMessage(processorTime());
}

function answer(tasks: Tasks, { task, input, work }: Request, note: (place: string) => void): Response {
  const run = tasks[task];
  let place = '';
  const tell = (text: string) => {
    place = text;
    note(text);
  };
  tell('');
  try {
    if (run === undefined) throw new Error(`there is no task "${task}"`);
    const { value, spent } = metered(work, tell, () => {
      const made = run(JSON.parse(input));
      measure(made, MAX_ANSWER, 'what it makes');
      return JSON.stringify(made);
    });
    return { output: value, spent, processor: processorTime() };
  } catch (error) {
    const base = { spent: work, processor: processorTime() };
    if (error instanceof CostError) {
      return {
        tooCostly: { place: error.path === null ? place : pathText(error.path), reason: error.message },
        ...base,
      };
    }
    // Of the call stack, or of a text or list that would be too long for any process.
    if (error instanceof RangeError) {
      return { tooCostly: { place, reason: `it is nested too deeply or grows too large (${error.message})` }, ...base };
    }
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    return { failure: { message, stack }, ...base };
  }
}

/** Milliseconds. Where this version of Node does not tell, all time counts. */
function processorTime(): number {
  if (typeof process.threadCpuUsage !== 'function') return performance.now();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

function placeWriter(place: SharedArrayBuffer): (text: string) => void {
  const length = new Uint32Array(place, 0, 1);
  const bytes = new Uint8Array(place, Uint32Array.BYTES_PER_ELEMENT);
  const encoder = new TextEncoder();
  return (text) => {
    length[0] = encoder.encodeInto(text, bytes).written;
  };
}

/** What the thread wrote last. */
export function readPlace(place: SharedArrayBuffer): string {
  const length = new Uint32Array(place, 0, 1)[0] ?? 0;
  return Buffer.from(new Uint8Array(place, Uint32Array.BYTES_PER_ELEMENT, length)).toString();
}

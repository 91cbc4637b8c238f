/** Runs the command line as its users do: a process of its own, with a home directory of its own. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { COMPILE_CACHE, MAIN } from '../support/server.ts';

export interface Run {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface CommandLine extends AsyncDisposable {
  /** Where its contexts are kept. */
  home: string;
  run(args: string[], options?: { input?: string; env?: Record<string, string> }): Promise<Run>;
  start(args: string[], env?: Record<string, string>): ChildProcessWithoutNullStreams;
  /** The same under a pseudo-terminal. What the person sees is on `stdout`; what they type goes to `stdin`. */
  terminal(args: string[], env?: Record<string, string>): ChildProcessWithoutNullStreams;
}

export async function createCommandLine(): Promise<CommandLine> {
  const home = await mkdtemp(path.join(tmpdir(), 'provisioning-cli-'));
  const environment = (env: Record<string, string>) => ({
    PATH: process.env.PATH ?? '',
    HOME: home,
    TERM: 'xterm',
    ...COMPILE_CACHE,
    ...env,
  });
  const start = (args: string[], env: Record<string, string> = {}) =>
    spawn(process.execPath, [MAIN, ...args], { env: environment(env) });
  return {
    home,
    start,
    terminal(args, env = {}) {
      const command = [process.execPath, MAIN, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
      return spawn('script', ['-qefc', command, '/dev/null'], { env: environment(env) });
    },
    async run(args, { input, env = {} } = {}) {
      const child = start(args, env);
      child.stdin.end(input ?? '');
      return ended(child);
    },
    async [Symbol.asyncDispose]() {
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** What it printed and how it ended. */
export async function ended(child: ChildProcessWithoutNullStreams): Promise<Run> {
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += String(chunk);
  });
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk);
  });
  const [status] = await once(child, 'close');
  return { status, stdout, stderr };
}

/** Resolves with all that was printed so far when it matches. @throws when the program ends before. */
export function printed(child: ChildProcessWithoutNullStreams, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let seen = '';
    const look = (chunk: unknown) => {
      seen += String(chunk);
      if (pattern.test(seen)) resolve(seen);
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.once('close', (status) =>
      reject(new Error(`It ended with ${status} before ${pattern} was printed:\n${seen}`)),
    );
  });
}

/** Official clients of clouds from Go modules: built from the sources beside a test, kept outside the repository. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { findProgram, needs } from '../support/needs.ts';
import { whyNotFetched } from './fetching.ts';

const run = promisify(execFile);
/** The first build fetches and compiles all that a client is made of. */
const BUILD_MS = 600_000;
/** Of one run of a client. */
const RUN_MS = 120_000;

export interface GoProgram {
  /** Runs it and answers what it prints as JSON. @param input goes to its standard input. */
  run(args: readonly string[], options?: { env?: Record<string, string>; input?: string }): Promise<unknown>;
}

/**
 * The program of a folder with a `go.mod`, built where it is not there yet from these very sources.
 * @returns for `skip` of tests why there is none; running it throws then.
 */
export async function openGo(folder: string): Promise<{ skip: string | false; program: GoProgram }> {
  const skip = needs('go');
  const none: GoProgram = {
    run: () => Promise.reject(new Error('a test that is skipped asked for a Go program')),
  };
  if (skip !== false) return { skip, program: none };
  const hash = createHash('sha256');
  for (const file of readdirSync(folder).toSorted()) hash.update(readFileSync(path.join(folder, file)));
  const base = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
  const home = path.join(base, 'provisioning-tests', `go-${hash.digest('hex').slice(0, 16)}`);
  const binary = path.join(home, 'program');
  if (!existsSync(binary)) {
    try {
      await go(folder, ['mod', 'download']);
    } catch (error) {
      return { skip: whyNotFetched(`the Go modules of ${path.basename(folder)}/go.mod`, error), program: none };
    }
    await build(folder, home);
  }
  const program: GoProgram = {
    async run(args, { env = {}, input = '' } = {}) {
      const work = run(binary, [...args], {
        ...{ timeout: RUN_MS, maxBuffer: 64 * 1_048_576 },
        env: { PATH: process.env.PATH, HOME: home, ...env },
      });
      work.child.stdin?.end(input);
      return JSON.parse((await work).stdout);
    },
  };
  return { skip: false, program };
}

/** The Go that is there, which fetches no other. */
async function go(cwd: string, args: readonly string[]): Promise<void> {
  await run(findProgram('go') ?? 'go', [...args], {
    ...{ cwd, timeout: BUILD_MS, maxBuffer: 16 * 1_048_576 },
    env: { ...process.env, CGO_ENABLED: '0', GOTOOLCHAIN: 'local' },
  });
}

/** In a folder of its own, which gets its name once it is whole: another process may build the same. */
async function build(folder: string, home: string): Promise<void> {
  mkdirSync(path.dirname(home), { recursive: true });
  const draft = mkdtempSync(`${home}-`);
  try {
    await go(folder, ['build', '-trimpath', '-buildvcs=false', '-o', path.join(draft, 'program'), '.']);
    if (!existsSync(home)) renameSync(draft, home);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

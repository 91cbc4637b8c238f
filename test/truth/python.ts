/** Official clients and descriptions of clouds from PyPI: in an environment outside the repository, at pinned versions. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { findProgram, needs } from '../support/needs.ts';
import { whyNotFetched } from './fetching.ts';

const run = promisify(execFile);
/** Building an environment fetches some 30 MB. */
const BUILD_MS = 300_000;

export interface Python {
  /** Runs the environment's Python and answers what it prints. @param input goes to its standard input. */
  run(args: readonly string[], options?: { env?: Record<string, string>; input?: string }): Promise<string>;
  /** Its interpreter, for what keeps running. */
  interpreter: string;
  /** Where nothing shadows a module. */
  cwd: string;
}

/**
 * An environment with these packages (`boto3==1.44.8`), built where there is none yet, and told with its versions.
 * @returns for `skip` of tests why there is none; `python` throws then.
 */
export async function openPython(
  packages: readonly string[],
): Promise<{ skip: string | false; python: Python; versions: string }> {
  const skip = needs('python3');
  const missing = () => {
    throw new Error('a test that is skipped asked for Python');
  };
  const none = { python: { run: missing, interpreter: '', cwd: '' }, versions: '' };
  if (skip !== false) return { skip, ...none };
  const base = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
  // An environment is of one version of Python.
  const { stdout: version } = await run(findProgram('python3') ?? 'python3', ['--version']);
  const key = createHash('sha256')
    .update([version, ...packages].join('\n'))
    .digest('hex')
    .slice(0, 16);
  const home = path.join(base, 'provisioning-tests', `python-${key}`);
  try {
    if (!existsSync(home)) await build(home, packages);
  } catch (error) {
    return { skip: whyNotFetched(`${packages.join(', ')} from PyPI`, error), ...none };
  }
  const interpreter = path.join(home, 'bin/python');
  const python: Python = {
    interpreter,
    cwd: home,
    async run(args, { env = {}, input = '' } = {}) {
      const work = run(interpreter, [...args], {
        ...{ cwd: home, timeout: BUILD_MS, maxBuffer: 64 * 1_048_576 },
        env: { PATH: process.env.PATH, HOME: home, PYTHONWARNINGS: 'ignore', ...env },
      });
      work.child.stdin?.end(input);
      return (await work).stdout;
    },
  };
  const versions = await python.run(['-m', 'pip', 'freeze', '--disable-pip-version-check']);
  const wanted = packages.map((each) => each.replace(/[[=].*/s, '').replaceAll('_', '-'));
  const named = versions.split('\n').filter((line) => wanted.includes(line.replace(/==.*/, '').replaceAll('_', '-')));
  return { skip: false, python, versions: named.join(', ') };
}

/** In a folder of its own, which gets its name once it is whole: another process may build the same. */
async function build(home: string, packages: readonly string[]): Promise<void> {
  mkdirSync(path.dirname(home), { recursive: true });
  const draft = mkdtempSync(`${home}-`);
  try {
    await run(findProgram('python3') ?? 'python3', ['-m', 'venv', draft], { timeout: BUILD_MS });
    const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--retries', '1', ...packages];
    await run(path.join(draft, 'bin/python'), install, { timeout: BUILD_MS });
    if (!existsSync(home)) renameSync(draft, home);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

/** The user's contexts: which servers they know, and the tokens for them. One file, readable by its owner alone. */
import { chmod, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TokenStore, Tokens } from '../sdk/client.ts';
import { UsageError } from './errors.ts';

interface ContextEntry {
  url: string;
  username: string | null;
  /** A file of authorities that this server's certificate is believed by; absent where Node's own are enough. */
  ca?: string;
  token: string | null;
  refresh_token: string | null;
}

export interface ConfigFile {
  current: string | null;
  contexts: Record<string, ContextEntry>;
}

/** A command that holds the lock longer than this was killed. */
const STALE_LOCK_MS = 30_000;
const LOCK_RETRY_MS = 50;

/** `$XDG_CONFIG_HOME/provisioning/contexts.json`, or in `~/.config`. */
export function configPath(environment: NodeJS.ProcessEnv): string {
  const base = environment.XDG_CONFIG_HOME ?? path.join(environment.HOME ?? homedir(), '.config');
  return path.join(base, 'provisioning', 'contexts.json');
}

/** @throws UsageError when the file is not what this program wrote. */
export async function readConfig(file: string): Promise<ConfigFile> {
  let content: string;
  try {
    content = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { current: null, contexts: {} };
    throw error;
  }
  try {
    const { current, contexts } = JSON.parse(content) as ConfigFile;
    if (typeof contexts !== 'object' || contexts === null) throw new SyntaxError('no contexts');
    return { current: current ?? null, contexts };
  } catch {
    throw new UsageError(`${file} is damaged. Delete it and log in again: provisioning login`);
  }
}

/** Changes the file, one process at a time; it is never half-written and never readable by others. */
export async function updateConfig(
  file: string,
  change: (config: ConfigFile) => Promise<ConfigFile>,
): Promise<ConfigFile> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const lock = `${file}.lock`;
  await takeLock(lock);
  try {
    const changed = await change(await readConfig(file));
    const temporary = `${file}.${process.pid}.tmp`;
    await writeFile(temporary, `${JSON.stringify(changed, null, 2)}\n`, { mode: 0o600 });
    await chmod(temporary, 0o600);
    await rename(temporary, file);
    return changed;
  } finally {
    await rm(lock, { force: true });
  }
}

async function takeLock(lock: string): Promise<void> {
  for (;;) {
    try {
      await (await open(lock, 'wx', 0o600)).close();
      return;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      const held = await stat(lock).catch(() => null);
      if (held !== null && Date.now() - held.mtimeMs > STALE_LOCK_MS) await rm(lock, { force: true });
      else await sleep(LOCK_RETRY_MS);
    }
  }
}

/** The tokens of a context, renewed by one process at a time. */
export function contextTokens(file: string, name: string): TokenStore {
  const tokensOf = (entry: ContextEntry | undefined): Tokens | null =>
    entry === undefined || entry.token === null ? null : { token: entry.token, refreshToken: entry.refresh_token };
  return {
    read: async () => tokensOf((await readConfig(file)).contexts[name]),
    async update(next) {
      const config = await updateConfig(file, async (present) => {
        const entry = present.contexts[name];
        if (entry === undefined) return present;
        const tokens = await next(tokensOf(entry));
        const changed = { ...entry, token: tokens?.token ?? null, refresh_token: tokens?.refreshToken ?? null };
        return { ...present, contexts: { ...present.contexts, [name]: changed } };
      });
      return tokensOf(config.contexts[name]);
    },
  };
}

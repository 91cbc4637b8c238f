/** The bare Fastify process (bench/bare-routes.ts) and the statements it runs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const BARE = fileURLToPath(new URL('../bare-routes.ts', import.meta.url));

/** One route: it runs the statements and sends that column of the first one's row, with what stands around it. */
export interface BareRoute {
  path: string;
  column: string;
  around: [string, string];
  statements: { text: string; values: readonly unknown[] }[];
}

export interface BareServer extends AsyncDisposable {
  url: string;
  process: ChildProcess;
}

/** @param database URL of the database. */
export async function startBare(database: string, routes: BareRoute[]): Promise<BareServer> {
  const child = spawn(process.execPath, [BARE, database], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  child.stdin.end(JSON.stringify(routes));
  const address = await Promise.race([once(child.stdout, 'data'), exited.then(() => null)]);
  if (address === null) throw new Error('the bare server did not start');
  return {
    url: String(address[0]).trim(),
    process: child,
    async [Symbol.asyncDispose]() {
      child.kill();
      await exited;
    },
  };
}

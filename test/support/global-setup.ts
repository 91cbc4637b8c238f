/** Run once around all test files (`node --test --test-global-setup`): one bundle and one Postgres for the whole run. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { buildServer } from '../../scripts/build-server.ts';
import { createTestDatabase, startSharedPostgres } from './database.ts';

let stop: (() => Promise<void>) | undefined;

/** The first server that ends leaves what it has compiled to all others: one that has served, not one that could not start. */
async function compile(): Promise<void> {
  // Not earlier: it looks for the bundle.
  const { startTestServer } = await import('./server.ts');
  const database = await createTestDatabase();
  const server = await startTestServer({ databaseUrl: database.url });
  await server[Symbol.asyncDispose]();
  await database.close();
}

export async function globalSetup(): Promise<void> {
  const bundle = await buildServer();
  stop = await startSharedPostgres();
  if (!existsSync(path.join(path.dirname(bundle), 'cache'))) await compile();
}

export async function globalTeardown(): Promise<void> {
  await stop?.();
}

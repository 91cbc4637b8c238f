/** Run once around all test files (`node --test --test-global-setup`): one Postgres for the whole run. */
import { startSharedPostgres } from './database.ts';

let stop: (() => Promise<void>) | undefined;

export async function globalSetup(): Promise<void> {
  stop = await startSharedPostgres();
}

export async function globalTeardown(): Promise<void> {
  await stop?.();
}

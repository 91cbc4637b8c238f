/** Postgres: deadlock, serialisation failure. The transaction did nothing. */
const CONFLICTS = ['40P01', '40001'];
const MAX_TRIES = 5;

/** Does the work, one or more whole transactions, again where Postgres ended it for a conflict with another. */
export async function retryingConflicts<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      if (!CONFLICTS.includes(code) || tries === MAX_TRIES) throw error;
    }
  }
}

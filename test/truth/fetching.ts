/** Fetching what a test is made with: the machine may lack the network or a part of its tools, everything else is our fault. */
import { skipped } from '../support/needs.ts';

/** What pip and Go say where nobody answers, or the registry is down itself. */
const UNREACHABLE =
  /connection broken|failed to establish a new connection|name resolution|no such host|dial tcp|network is unreachable|connection refused|i\/o timeout|timed out|\b50[234]\b/i;
/** Debian has Python without venv; a Go may be older than what a client needs. */
const INCOMPLETE = /ensurepip is not available|No module named venv|requires go >=|requires newer Go/i;

/**
 * For `skip` of a test: why something cannot be fetched here.
 * @throws the error itself, unless the machine lacks the network or a part of its tools.
 */
export function whyNotFetched(what: string, error: unknown): string {
  const { message, stderr = '' } = error as Error & { stderr?: string };
  const words = `${message}\n${stderr}`;
  if (!UNREACHABLE.test(words) && !INCOMPLETE.test(words)) throw error;
  return skipped(`needs ${what}: ${words.trim().slice(-500)}`);
}

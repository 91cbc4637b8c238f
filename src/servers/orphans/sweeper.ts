import type { Logger } from 'pino';
import { isDatabaseUnavailable } from '../../database/pool.ts';
import { ProviderError } from '../../providers/contract.ts';
import type { ProviderAccount } from '../../providers/registry.ts';
import type { AccountName } from './store.ts';
import { type SweepTools, sweepAccount } from './sweep.ts';
import { endTurn, takeDueAccounts } from './sweep-store.ts';

/** Looks for accounts whose turn has come, at most so far apart. Milliseconds. */
const LONGEST_ROUND_MS = 5_000;
/** A replica that dies while it looks holds the account up for so long. Longer than a list takes. Seconds. */
const LEASE_SECONDS = 300;

/** Looks at every account each `intervalSeconds`, one replica at a time. */
export function startSweeper(tools: SweepTools & { intervalSeconds: number; logger: Logger }): {
  stop(): Promise<void>;
} {
  const { db, providers, intervalSeconds, logger } = tools;
  const stopped = new AbortController();
  let running: Promise<void> = Promise.resolve();
  let busy = false;

  const sweep = async (account: ProviderAccount) => {
    const name: AccountName = { provider: account.provider.name, workspace: account.workspace };
    const error = await sweepAccount(tools, account, stopped.signal).then(
      () => null,
      (failure: unknown) => {
        stopped.signal.throwIfAborted();
        if (!(failure instanceof ProviderError)) throw failure;
        logger.warn({ provider: name.provider, account: name.workspace, code: failure.code }, failure.message);
        return failure.message;
      },
    );
    await endTurn(db, name, intervalSeconds, error);
  };

  const round = async () => {
    const accounts = await providers.accounts();
    const names = accounts.map(({ provider, workspace }) => ({ provider: provider.name, workspace }));
    const due = await takeDueAccounts(db, names, { intervalSeconds, leaseSeconds: LEASE_SECONDS });
    const ours = accounts.filter(({ provider, workspace }) =>
      due.some((account) => account.provider === provider.name && account.workspace === workspace),
    );
    await Promise.all(ours.map(sweep));
  };

  const timer = setInterval(
    () => {
      if (busy) return;
      busy = true;
      running = round()
        .catch((error: unknown) => {
          if (stopped.signal.aborted || isDatabaseUnavailable(error)) return;
          logger.error({ err: error }, 'looking after the accounts failed; the next round tries again');
        })
        .finally(() => {
          busy = false;
        });
    },
    Math.min(LONGEST_ROUND_MS, intervalSeconds * 1_000),
  );

  return {
    async stop() {
      clearInterval(timer);
      stopped.abort(new Error('The server is stopping.'));
      await running;
    },
  };
}

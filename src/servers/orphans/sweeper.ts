import type { Logger } from 'pino';
import { isDatabaseUnavailable } from '../../database/pool.ts';
import { ProviderError } from '../../providers/contract.ts';
import type { ProviderAccount } from '../../providers/registry.ts';
import { startRounds } from '../../util/rounds.ts';
import type { AccountName } from './store.ts';
import { type SweepTools, sweepAccount } from './sweep.ts';
import { endTurn, takeDueAccounts } from './sweep-store.ts';

/** Looks for accounts whose turn has come, at most so far apart. Milliseconds. */
const LONGEST_ROUND_MS = 5_000;
/**
 * A look that broke off without a word is begun again after this; a replica that knows no holders believes for so long
 * that somebody looks. Longer than a list takes. Seconds.
 */
const LEASE_SECONDS = 300;

const keyOf = ({ provider, workspace }: AccountName) => `${provider} ${workspace ?? ''}`;

/**
 * Looks at every account each `intervalSeconds`, one replica at a time. An account that does not answer holds up no other.
 * @param replica this process among the replicas: what it was looking at when it is given up, another one looks at.
 */
export function startSweeper(tools: SweepTools & { replica: string; intervalSeconds: number; logger: Logger }): {
  stop(): Promise<void>;
} {
  const { db, providers, replica, intervalSeconds, logger } = tools;
  const stopped = new AbortController();
  const sweeping = new Map<string, Promise<void>>();

  const complain = (error: unknown) => {
    if (stopped.signal.aborted || isDatabaseUnavailable(error)) return;
    logger.error({ err: error }, 'looking after the accounts failed; the next round tries again');
  };

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
    await endTurn(db, name, { replica, intervalSeconds, error });
  };

  const round = async () => {
    const accounts = (await providers.accounts())
      .map((account) => ({ account, name: { provider: account.provider.name, workspace: account.workspace } }))
      .filter(({ name }) => !sweeping.has(keyOf(name)));
    const names = accounts.map(({ name }) => name);
    const due = await takeDueAccounts(db, names, { replica, intervalSeconds, leaseSeconds: LEASE_SECONDS });
    for (const key of due.map(keyOf)) {
      const taken = accounts.find(({ name }) => keyOf(name) === key);
      if (taken === undefined) continue;
      const look = sweep(taken.account).catch(complain);
      sweeping.set(
        key,
        look.finally(() => sweeping.delete(key)),
      );
    }
  };

  const rounds = startRounds(Math.min(LONGEST_ROUND_MS, intervalSeconds * 1_000), () => round().catch(complain));
  return {
    async stop() {
      stopped.abort(new Error('The server is stopping.'));
      await rounds.stop();
      await Promise.all(sweeping.values());
    },
  };
}

import type { Expiring } from '../../servers/expiry/sweep.ts';
import { acceptDelete } from '../delete/operation.ts';
import type { Definitions } from '../host-plan.ts';
import { hostsOf, lockServers } from '../host-store.ts';
import { definitionsOf } from '../procedures/input.ts';

/** Taskservs that expire are removed from their servers, where nothing else there requires them. */
export const expiringTaskservs: Expiring<Definitions> = {
  type: 'taskserv',
  prepare: ({ db }, workspace) => definitionsOf(db, workspace),
  async lockBefore(tx, id) {
    const hosts = await hostsOf(tx, id);
    await lockServers(
      tx,
      hosts.map(({ server_id }) => server_id),
    );
  },
  accept: (services, mutation, { id, expires_at: expiredAt }, definitions) =>
    acceptDelete(services, mutation, id, {}, definitions, expiredAt),
};

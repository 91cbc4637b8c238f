import { errors } from '../../errors.ts';
import { acceptDeletion } from '../delete/operation.ts';
import { lockServer } from '../store.ts';
import type { Expiring } from './sweep.ts';

/** Servers that expire go with the services on them. */
export const expiringServers: Expiring<void> = {
  type: 'server',
  prepare: async () => {},
  lockBefore: async () => {},
  async accept(services, mutation, { id, expires_at: expiredAt }) {
    const server = await lockServer(mutation.tx, id);
    if (server === null) throw errors.notFound('server', id);
    return acceptDeletion(services, mutation, server, { force: true, expiredAt });
  },
};

import { errors } from '../../errors.ts';
import { acceptDeletion } from '../delete/operation.ts';
import { timeText } from '../guards/fields.ts';
import { lockServer } from '../store.ts';
import type { Expiring } from './sweep.ts';

/** Servers that expire go with the services on them. */
export const expiringServers: Expiring<void> = {
  type: 'server',
  prepare: async () => {},
  lockBefore: async () => {},
  async accept(services, mutation, { id, name, expires_at: expiresAt }) {
    const server = await lockServer(mutation.tx, id);
    if (server === null) throw errors.notFound('server', id);
    const title = `Delete ${name}, which expired at ${timeText(expiresAt)}`;
    return acceptDeletion(services, mutation, server, { force: true, title });
  },
};

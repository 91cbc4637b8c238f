import type { Database } from '../database/pool.ts';
import { type Transport, TransportError } from './contract.ts';

/** The ways into servers. */
export interface Hosts {
  /**
   * The way into a server, to be closed after use.
   * @throws TransportError where there is none, or the signal's reason.
   */
  open(serverId: string, signal?: AbortSignal): Promise<Transport>;
}

/** A server that can be reached: its provider has made it. */
interface Reachable {
  id: string;
  workspace: string;
  hostname: string;
  provider_ref: string;
  ip_address: string | null;
}

type Way = (server: Reachable) => Transport | Promise<Transport>;

/** @param ways for each provider, how its servers are entered; `otherwise`: those of all others. */
export function createHosts(db: Database, ways: Readonly<Record<string, Way>>, otherwise: Way): Hosts {
  return {
    async open(serverId, signal) {
      signal?.throwIfAborted();
      const server = await db
        .selectFrom('provisioning.servers')
        .select(['id', 'workspace', 'hostname', 'provider', 'provider_ref', 'ip_address'])
        .where('id', '=', serverId)
        .executeTakeFirst();
      const ref = server?.provider_ref ?? null;
      if (server === undefined || ref === null) {
        throw new TransportError(
          'FAILED',
          `The server ${server?.hostname ?? serverId} does not exist or is not ready yet.`,
        );
      }
      const way = ways[server.provider] ?? otherwise;
      return way({ ...server, provider_ref: ref });
    },
  };
}

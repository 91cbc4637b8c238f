import type pg from 'pg';
import { sleep } from '../util/sleep.ts';
import { type ConnectionSettings, createClient } from './pool.ts';

const RECONNECT_DELAY_MS = 250;

/** One LISTEN connection for the whole process, fanned out to whoever subscribed. */
export interface Listener {
  /** `onMessage` gets each payload; `onReconnect` runs when messages may have been missed. Returns the unsubscribe. */
  listen(channel: string, onMessage: (payload: string) => void, onReconnect?: () => void): () => void;
  /** False while the connection is away: what caches rely on messages must then not be trusted. */
  readonly connected: boolean;
  close(): Promise<void>;
}

interface Subscription {
  channel: string;
  onMessage: (payload: string) => void;
  onReconnect: (() => void) | undefined;
}

/**
 * Connects and keeps connecting. Resolves once the first connection stands.
 * @param channels all that will be listened on.
 * @param revive called before each try to connect again: brings an embedded Postgres back that died.
 */
export async function startListener(
  settings: ConnectionSettings,
  channels: readonly string[],
  revive: () => Promise<void> = async () => {},
): Promise<Listener> {
  const subscriptions = new Set<Subscription>();
  let client: pg.Client | undefined;
  let closed = false;
  let connected = false;
  let reconnecting: Promise<void> | undefined;

  const connect = async () => {
    const next = createClient(settings, 'provisioning listen');
    next.on('notification', ({ channel, payload }) => {
      for (const subscription of subscriptions) {
        if (subscription.channel === channel) subscription.onMessage(payload ?? '');
      }
    });
    const lost = () => {
      if (client !== next) return;
      client = undefined;
      connected = false;
      if (!closed) reconnecting = reconnect();
    };
    next.on('error', lost);
    next.on('end', lost);
    try {
      await next.connect();
      for (const channel of channels) await next.query(`listen ${channel}`);
    } catch (error) {
      void next.end().catch(() => 'the connection never stood');
      throw error;
    }
    if (closed) {
      await next.end();
      return;
    }
    client = next;
    connected = true;
  };

  const reconnect = async () => {
    while (!closed) {
      try {
        await revive();
        await connect();
        if (closed) return;
        for (const subscription of subscriptions) subscription.onReconnect?.();
        return;
      } catch {
        // The database is away; every request says so already. Keep trying.
        if (!closed) await sleep(RECONNECT_DELAY_MS);
      }
    }
  };

  await connect();
  return {
    get connected() {
      return connected;
    },
    listen(channel, onMessage, onReconnect) {
      if (!channels.includes(channel)) throw new Error(`Channel ${channel} is not one of ${channels.join(', ')}`);
      const subscription = { channel, onMessage, onReconnect };
      subscriptions.add(subscription);
      return () => subscriptions.delete(subscription);
    },
    async close() {
      closed = true;
      connected = false;
      await client?.end();
      // A connection that is just being opened is closed as soon as it stands.
      await reconnecting;
    },
  };
}

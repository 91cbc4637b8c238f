/** Turns events into deliveries and sends them, on any number of replicas. */

import type { Logger } from 'pino';
import { presentAuthority } from '../access/authority.ts';
import { isPermitted, type Principal, permittedWorkspaces } from '../access/permissions.ts';
import type { Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import type { Signals } from '../engine/signals.ts';
import { insertAudit, UNASKED } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { comparePositions } from '../operations/cursor.ts';
import { type FeedRow, readFeed } from '../operations/store.ts';
import { backoff } from '../util/backoff.ts';
import {
  type Claimed,
  claimDue,
  giveUpPending,
  insertDeliveries,
  lockCursor,
  moveCursor,
  type NewDelivery,
  noteResult,
  operationsById,
  type Result,
} from './delivery-store.ts';
import { eventName, isWanted } from './events.ts';
import { type Outcome, post, TRY_MS } from './send.ts';
import { encryptionContext, outboundOf, payloadOf } from './service.ts';
import { signedHeaders } from './signature.ts';
import { type ActiveWebhook, activeWebhooks, anyActive, deactivate, noteFailing, noteWorking } from './store.ts';

/** Between two looks without a hint. Milliseconds. */
const LOOK_MS = 1_000;
/** Hints are gathered so long. */
const GATHER_MS = 50;
/** Events turned into deliveries in one transaction. */
const BATCH = 200;
/** Deliveries under way in this process, and of them to one webhook. */
const AT_ONCE = 32;
const PER_WEBHOOK = 4;
/** A sender that has not written down how its try went by then is taken for dead. Longer than a try can last. */
const LEASE_SECONDS = TRY_MS / 1_000 + 10;
/** Tries of a delivery: with the waits between them a little more than a day. */
const MAX_TRIES = 12;
const WAITS = { first: 5, most: 21_600, factor: 3, jitter: 0.2 };
/** A webhook at which nothing has arrived for so long is deactivated. Days. */
const GIVE_UP_DAYS = 5;
/** Whom the audit log names for what nobody asked for. */
const SERVER = 'provisioning';

type Tools = Pick<Services, 'config' | 'db' | 'egress' | 'encryption'> & { logger: Logger; signals: Signals };

/**
 * Tells webhooks what happens. Nothing is lost: the deliveries of a piece of the feed and the place behind it commit
 * together. Each delivery has one sender at a time; one that dies before it has written down how it went is followed by
 * another, so that a delivery may arrive twice.
 */
export function startWebhooks(tools: Tools): { stop(): Promise<void> } {
  const { db, logger, signals } = tools;
  const stopped = new AbortController();
  const sending = new Map<string, { webhookId: string; done: Promise<void> }>();
  let timer: NodeJS.Timeout | undefined;
  let round: Promise<void> | undefined;
  /** Somebody is to be told something: only then a hint means anything. */
  let listening = false;
  let hinted = false;

  const schedule = (ms: number) => {
    if (stopped.signal.aborted) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      hinted = false;
      round = look()
        .catch((error: unknown) => logger.warn({ err: error }, 'processing webhooks failed; trying again'))
        .finally(() => {
          round = undefined;
          schedule(hinted ? GATHER_MS : LOOK_MS);
        });
    }, ms);
  };
  const hint = () => {
    if (!listening || hinted) return;
    hinted = true;
    if (round === undefined) schedule(GATHER_MS);
  };

  const look = async () => {
    listening = await anyActive(db);
    if (!listening) return;
    while (!stopped.signal.aborted && (await turnIntoDeliveries(tools)));
    await sendDue();
  };

  const sendDue = async () => {
    const free = AT_ONCE - sending.size;
    if (free <= 0 || stopped.signal.aborted) return;
    const counts = new Map<string, number>();
    for (const { webhookId } of sending.values()) counts.set(webhookId, (counts.get(webhookId) ?? 0) + 1);
    for (const claimed of await claimDue(db, {
      limit: free,
      perWebhook: PER_WEBHOOK,
      leaseSeconds: LEASE_SECONDS,
      sending: counts,
    })) {
      const done = deliver(tools, claimed, stopped.signal)
        .catch((error: unknown) =>
          logger.warn({ err: error, delivery: claimed.id }, 'the outcome of a delivery is unknown; it is sent again'),
        )
        .finally(() => {
          sending.delete(claimed.id);
          // A place came free.
          hint();
        });
      sending.set(claimed.id, { webhookId: claimed.webhook_id, done });
    }
  };

  const unlisten = signals.onOperationsChanged(hint);
  schedule(LOOK_MS);
  return {
    async stop() {
      unlisten();
      stopped.abort(new Error('The server is stopping.'));
      clearTimeout(timer);
      await round;
      await Promise.all([...sending.values()].map(({ done }) => done));
    },
  };
}

/** Turns the next piece of the feed into deliveries. @returns whether there is more to be read at once. */
async function turnIntoDeliveries(tools: Tools): Promise<boolean> {
  return tools.db.transaction().execute(async (tx) => {
    const from = await lockCursor(tx);
    if (from === null) return false;
    const { rows, horizon, more } = await readFeed(tx, from, BATCH);
    const end = more ? (rows.at(-1)?.position ?? from) : horizon;
    if (comparePositions(end, from) <= 0) return false;
    const told = rows.filter(({ type, checkMode }) => type === 'status' && !checkMode);
    if (told.length > 0) await insertDeliveries(tx, await deliveriesFor({ ...tools, db: tx }, told));
    await moveCursor(tx, end);
    return more;
  });
}

async function deliveriesFor(
  tools: Pick<Tools, 'config' | 'logger'> & { db: Queryable },
  rows: readonly FeedRow[],
): Promise<NewDelivery[]> {
  const { db: tx, logger } = tools;
  const webhooks = await activeWebhooks(tx, null);
  const wanted = rows.flatMap((row) => {
    const { status, at } = JSON.parse(row.json) as { status: string; at: string };
    const happening = { kind: row.kind, status };
    return webhooks
      .filter(
        ({ workspace, events }) => (workspace === null || workspace === row.workspace) && isWanted(events, happening),
      )
      .map((webhook) => ({ row, at, event: eventName(happening), webhook }));
  });
  if (wanted.length === 0) return [];
  const silenced = new Set<string>();
  for (const webhook of new Set(wanted.map((one) => one.webhook))) {
    const reason = await whyNotTold(tools, webhook);
    if (reason === null) continue;
    silenced.add(webhook.id);
    await silence(tx, webhook.id, reason, logger);
  }
  const operations = await operationsById(tx, [...new Set(wanted.map(({ row }) => row.position.operationId))]);
  return wanted.flatMap(({ row: { position }, at, event, webhook }) => {
    const operation = operations.get(position.operationId);
    if (operation === undefined || silenced.has(webhook.id)) return [];
    const id = uuidv7();
    return [{ id, webhookId: webhook.id, event, position, payload: payloadOf(id, event, at, webhook.id, operation) }];
  });
}

/** Why those on whose behalf it is told may no longer know; null: they may. */
async function whyNotTold(
  { db, config }: Pick<Services, 'config'> & { db: Queryable },
  { workspace, authority }: ActiveWebhook,
): Promise<string | null> {
  const { bindings, ended } = await presentAuthority(db, authority, config);
  if (ended !== null) return ended;
  const { name } = authority;
  const owner: Principal = { ...authority, label: name, bindings };
  const may =
    workspace === null
      ? permittedWorkspaces(owner, 'operation_read') === null
      : isPermitted(owner, 'operation_read', workspace);
  return may ? null : `"${name}" may no longer read the operations of ${workspace ?? 'all workspaces'}`;
}

/** Deactivates a webhook, says why, and gives up what still waits. */
async function silence(tx: Queryable, id: string, reason: string, logger: Logger): Promise<void> {
  if (!(await deactivate(tx, id, reason))) return;
  await giveUpPending(tx, id, `the webhook was deactivated: ${reason}`);
  const entry = { action: 'webhook.deactivate', resource: `webhook:${id}`, details: { reason } };
  await insertAudit(tx, UNASKED, SERVER, 'allowed', entry);
  logger.warn({ webhook: id, reason }, 'a webhook was deactivated');
}

async function deliver(tools: Tools, claimed: Claimed, signal: AbortSignal): Promise<void> {
  const { db, logger } = tools;
  const webhookId = claimed.webhook_id;
  const [webhook] = await activeWebhooks(db, [webhookId]);
  const reason = webhook === undefined ? null : await whyNotTold(tools, webhook);
  if (reason !== null) {
    await db.transaction().execute((tx) => silence(tx, webhookId, reason, logger));
    return;
  }
  const outcome = await attempt(tools, claimed, signal);
  if (signal.aborted && outcome.status === null) {
    // Whether it arrived is unknown: whoever comes next sends it again.
    await noteResult(db, claimed, { ...outcome, delivered: false, retrySeconds: 0 });
    return;
  }
  const result = resultOf(outcome, claimed.attempts);
  await db.transaction().execute(async (tx) => {
    // The webhook's row before those of deliveries, here as everywhere: nobody waits in a ring.
    const long = result.delivered ? await noteWorking(tx, webhookId) : await noteFailing(tx, webhookId, GIVE_UP_DAYS);
    await noteResult(tx, claimed, result);
    if (outcome.status === 410) await silence(tx, webhookId, 'the receiver answered 410: it is gone', logger);
    else if (long === true) await silence(tx, webhookId, `nothing has arrived for ${GIVE_UP_DAYS} days`, logger);
  });
}

async function attempt(tools: Tools, claimed: Claimed, signal: AbortSignal): Promise<Outcome> {
  const { id, webhook_id: webhookId, url, workspace, payload, secret, previous_secret: previous } = claimed;
  let headers: Record<string, string>;
  try {
    const secrets = [secret, ...(previous === null ? [] : [previous])];
    const opened = secrets.map((encrypted) => tools.encryption.decrypt(encrypted, encryptionContext(webhookId)));
    headers = signedHeaders(id, payload, opened, new Date());
  } catch (error) {
    // Of this replica's making (another master key): visible in the log of deliveries.
    const reason = error instanceof Error ? error.message : String(error);
    return { status: null, excerpt: null, retryAfter: null, error: `could not be signed: ${reason}` };
  }
  return post(url, headers, payload, outboundOf(tools, workspace), signal);
}

function resultOf({ status, excerpt, error, retryAfter }: Outcome, attempts: number): Result {
  const delivered = error === null;
  const last = delivered || status === 410 || attempts >= MAX_TRIES;
  const retrySeconds = last ? null : Math.max(retryAfter ?? 0, backoff(attempts, WAITS));
  return { delivered, status, excerpt, error, retrySeconds };
}

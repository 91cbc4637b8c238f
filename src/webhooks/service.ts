import { authorityOf } from '../access/authority.ts';
import { isPermitted, type Permission, type Principal, permittedWorkspaces } from '../access/permissions.ts';
import { holdWorkspaces } from '../access/store.ts';
import type { Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import { errors, type FieldProblem } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { isUuid } from '../operations/schemas.ts';
import { nearMatches } from '../util/near-matches.ts';
import { giveUpPending, insertTest, renewDelivery } from './delivery-store.ts';
import type { CreateWebhook, UpdateWebhook } from './schemas.ts';
import { type Outbound, problemOf } from './send.ts';
import { isSecret, newSecret } from './signature.ts';
import {
  countWebhooks,
  deleteWebhookRow,
  findWebhook,
  insertWebhook,
  skipWhatNobodyHeard,
  updateWebhook,
  type WebhookChange,
  type WebhookRecord,
} from './store.ts';

/** How long the secret before goes on signing beside the new one. Hours. */
const OVERLAP_HOURS = 24;
const DEFAULT_EVENTS = ['operation.completed', 'operation.failed', 'operation.cancelled'];

/** What a webhook's secret is encrypted for: it opens for nothing else. */
export function encryptionContext(id: string): string {
  return `secret of webhook ${id}`;
}

/** Where deliveries of a webhook of this workspace (null: of all) may go. */
export function outboundOf(
  { config, egress }: Pick<Services, 'config' | 'egress'>,
  workspace: string | null,
): Outbound {
  return { egress: egress('webhook', workspace), http: config.webhookHttp };
}

/** Whether the permission holds for a webhook of this scope; one of all workspaces needs it in all. */
function holds(principal: Principal, permission: Permission, workspace: string | null): boolean {
  return workspace === null
    ? permittedWorkspaces(principal, permission) === null
    : isPermitted(principal, permission, workspace);
}

function requireMay(principal: Principal, workspace: string | null): void {
  for (const permission of ['webhook_write', 'operation_read'] as const) {
    if (!holds(principal, permission, workspace)) throw errors.forbidden(permission, workspace ?? '*');
  }
}

/** The webhook, if the caller may know of it. @throws 404 otherwise. */
export async function requireWebhook(
  db: Queryable,
  principal: Principal,
  id: string,
  lock = false,
): Promise<WebhookRecord> {
  const webhook = isUuid(id) ? await findWebhook(db, id, lock) : null;
  if (webhook === null) throw errors.notFound('webhook', id);
  if (!holds(principal, 'webhook_read', webhook.workspace)) throw errors.hidden('webhook', id);
  return webhook;
}

/** @throws 404 where the caller may not know of it, 403 where they may not change it. */
async function requireOwn({ tx, principal }: Mutation, id: string): Promise<WebhookRecord> {
  const webhook = await requireWebhook(tx, principal, id, true);
  requireMay(principal, webhook.workspace);
  return webhook;
}

function requireSound(
  services: Services,
  workspace: string | null,
  { url, secret }: { url?: string; secret?: string },
): void {
  const problems: FieldProblem[] = [];
  const wrong = url === undefined ? null : problemOf(url, outboundOf(services, workspace));
  if (wrong !== null) problems.push({ field: 'url', message: wrong });
  if (secret !== undefined && !isSecret(secret)) {
    problems.push({
      field: 'secret',
      message: 'must be "whsec_" and 24 to 64 bytes in base64; leave it out to have one generated',
    });
  }
  if (problems.length > 0) throw errors.validation(problems);
}

/** The secret is in this answer and nowhere else. @throws 400, 403, 409. */
export async function createWebhook(services: Services, mutation: Mutation, body: CreateWebhook): Promise<Answer> {
  const { tx, principal, audit } = mutation;
  const { url, events = DEFAULT_EVENTS, workspace = null, secret = newSecret(), active = true } = body;
  requireSound(services, workspace, { url, secret });
  requireMay(principal, workspace);
  if (workspace !== null) await requireWorkspace(tx, workspace);
  // Every event is held against each of them.
  await services.limits.requireCount(tx, 'webhooks', null, countWebhooks);
  if (workspace !== null)
    await services.limits.requireCount(tx, 'workspace_webhooks', workspace, (db) => countWebhooks(db, workspace));
  const id = uuidv7();
  if (active) await skipWhatNobodyHeard(tx);
  const json = await insertWebhook(tx, {
    id,
    url,
    events,
    workspace,
    active,
    secret: services.encryption.encrypt(secret, encryptionContext(id)),
    authority: authorityOf(principal),
  });
  audit({
    action: 'webhook.create',
    workspace,
    resource: `webhook:${id}`,
    details: { host: new URL(url).host, events },
  });
  return { body: { ...parsed(json), secret }, location: `/v1/webhooks/${id}`, secret: true };
}

async function requireWorkspace(tx: Queryable, workspace: string): Promise<void> {
  const known = await holdWorkspaces(tx, [workspace]);
  if (known.includes(workspace)) return;
  throw errors.validation([
    {
      field: 'workspace',
      message: `there is no workspace "${workspace}"`,
      near_matches: nearMatches(workspace, known),
    },
  ]);
}

/** Deactivated, it gives up what still waits. @throws 400, 403, 404. */
export async function changeWebhook(
  services: Services,
  mutation: Mutation,
  id: string,
  body: UpdateWebhook,
): Promise<Answer> {
  const { tx, principal, audit } = mutation;
  const { active, workspace } = await requireOwn(mutation, id);
  requireSound(services, workspace, body);
  const { secret, ...plain } = body;
  const change: WebhookChange = { ...plain };
  if (secret !== undefined) {
    change.secret = {
      encrypted: services.encryption.encrypt(secret, encryptionContext(id.toLowerCase())),
      overlapHours: OVERLAP_HOURS,
    };
  }
  if (body.active === true && !active) await skipWhatNobodyHeard(tx);
  const json = await updateWebhook(tx, id, change, authorityOf(principal));
  if (body.active === false && active) await giveUpPending(tx, id, 'the webhook was deactivated');
  audit({
    action: 'webhook.update',
    workspace,
    resource: `webhook:${id.toLowerCase()}`,
    details: { fields: Object.keys(body) },
  });
  return { body: json };
}

/** Its deliveries go with it. @throws 403, 404. */
export async function removeWebhook(mutation: Mutation, id: string): Promise<Answer> {
  const { tx, audit } = mutation;
  const { json, workspace } = await requireOwn(mutation, id);
  await deleteWebhookRow(tx, id);
  audit({ action: 'webhook.delete', workspace, resource: `webhook:${id.toLowerCase()}` });
  return { body: { deleted: true, ...parsed(json) } };
}

/** Puts a delivery of an event of its own on the way. @throws 403, 404, 409 while the webhook is not active. */
export async function testWebhook(mutation: Mutation, id: string): Promise<Answer> {
  const { tx, audit } = mutation;
  const { active, workspace } = await requireOwn(mutation, id);
  requireActive(active);
  const deliveryId = uuidv7();
  const webhookId = id.toLowerCase();
  const payload = payloadOf(deliveryId, 'webhook.test', new Date().toISOString(), webhookId, 'null');
  const body = await insertTest(tx, { id: deliveryId, webhookId, event: 'webhook.test', payload });
  audit({ action: 'webhook.test', workspace, resource: `webhook:${webhookId}` });
  return { body };
}

/** Sends a delivery again, with the same id and body. @throws 403, 404, 409 while the webhook is not active. */
export async function redeliver(mutation: Mutation, id: string, deliveryId: string): Promise<Answer> {
  const { tx, audit } = mutation;
  const { active, workspace } = await requireOwn(mutation, id);
  const body = isUuid(deliveryId) ? await renewDelivery(tx, id, deliveryId) : null;
  if (body === null) throw errors.notFound('delivery', deliveryId);
  requireActive(active);
  audit({
    action: 'webhook.redeliver',
    workspace,
    resource: `webhook:${id.toLowerCase()}`,
    details: { delivery: deliveryId },
  });
  return { body };
}

function requireActive(active: boolean): void {
  if (!active) throw errors.conflict('The webhook is not active, so nothing is sent. Activate it first.');
}

/** What is sent, as text. @param operation JSON text. @param at RFC 3339, when it happened. */
export function payloadOf(id: string, type: string, at: string, webhookId: string, operation: string): string {
  const head = JSON.stringify({ id, type, created_at: at, webhook_id: webhookId });
  return `${head.slice(0, -1)},"operation":${operation}}`;
}

function parsed(json: string): Record<string, unknown> {
  return JSON.parse(json) as Record<string, unknown>;
}

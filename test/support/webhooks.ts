/** What the tests of webhooks share. */
import { expectOk } from './acceptance.ts';
import { type Client, until } from './server.ts';

export interface Webhook {
  id: string;
  url: string;
  events: string[];
  workspace: string | null;
  active: boolean;
  inactive_reason: string | null;
  failing_since: string | null;
}

export interface Delivery {
  id: string;
  event: string;
  operation_id: string | null;
  status: 'pending' | 'delivered' | 'failed';
  attempts: number;
  response_status: number | null;
  response_excerpt: string | null;
  error: string | null;
  next_attempt_at: string | null;
  ended_at: string | null;
}

export interface Payload {
  id: string;
  type: string;
  created_at: string;
  webhook_id: string;
  operation: { id: string; kind: string; status: string; workspace: string } | null;
}

/** Makes a webhook. @returns it with its secret. */
export async function makeWebhook(
  client: Client,
  body: Record<string, unknown>,
): Promise<Webhook & { secret: string }> {
  return expectOk(await client.request<Webhook & { secret: string }>('POST', '/v1/webhooks', body));
}

export async function readWebhook(client: Client, id: string): Promise<Webhook> {
  return expectOk(await client.request<Webhook>('GET', `/v1/webhooks/${id}`));
}

/** The log, the newest first. */
export async function deliveriesOf(client: Client, id: string): Promise<Delivery[]> {
  return expectOk(await client.request<Delivery[]>('GET', `/v1/webhooks/${id}/deliveries`));
}

/** Waits for a delivery of the webhook that fits. */
export async function deliveryThat(
  client: Client,
  id: string,
  fits: (delivery: Delivery) => boolean,
  what: string,
): Promise<Delivery> {
  let found: Delivery | undefined;
  await until(async () => {
    found = (await deliveriesOf(client, id)).find(fits);
    return found !== undefined;
  }, what);
  if (found === undefined) throw new Error(what);
  return found;
}

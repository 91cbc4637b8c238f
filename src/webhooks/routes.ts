import { sql } from 'kysely';
import { Type } from 'typebox';
import { permittedWorkspaces } from '../access/permissions.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import {
  CreatedWebhook,
  CreateWebhook,
  DELIVERY_LIST,
  DeletedWebhook,
  Delivery,
  DeliveryId,
  UpdateWebhook,
  WEBHOOK_LIST,
  Webhook,
  WebhookId,
} from './schemas.ts';
import { changeWebhook, createWebhook, redeliver, removeWebhook, requireWebhook, testWebhook } from './service.ts';

const tags = ['Webhooks'];

/** `/v1/webhooks`: who is told of operations, and how that went. */
export function registerWebhookRoutes(app: App, services: Services): void {
  const { db, mutate } = services;

  app.post(
    '/v1/webhooks',
    {
      config: { access: 'webhook_write' },
      schema: {
        tags,
        operationId: 'createWebhook',
        summary: 'Create a webhook',
        description:
          'From now on every event that fits is sent to the URL as a signed POST (Standard Webhooks), at least once, tried again for about a day. The secret is in this answer only. What is told is what its maker may read at that moment.',
        body: CreateWebhook,
        response: { 200: CreatedWebhook, ...errorResponses(400, 401, 403, 409) },
      },
    },
    async (request, reply) => {
      reply.header('cache-control', 'no-store');
      return mutate(request, reply, (mutation) => createWebhook(services, mutation, request.body));
    },
  );

  app.get(
    '/v1/webhooks',
    {
      config: { access: 'webhook_read' },
      schema: {
        tags,
        operationId: 'listWebhooks',
        summary: 'List webhooks',
        querystring: listQuerySchema(WEBHOOK_LIST),
        response: { 200: Type.Array(Webhook), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const visible = permittedWorkspaces(principalOf(request), 'webhook_read');
      const scope = visible === null ? [] : [sql<boolean>`workspace = any(${visible}::text[])`];
      return sendList(db, WEBHOOK_LIST, request, reply, scope);
    },
  );

  app.get(
    '/v1/webhooks/:id',
    {
      config: { access: 'webhook_read' },
      schema: {
        tags,
        operationId: 'getWebhook',
        summary: 'Get a webhook',
        params: WebhookId,
        response: { 200: Webhook, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, (await requireWebhook(db, principalOf(request), request.params.id)).json),
  );

  app.patch(
    '/v1/webhooks/:id',
    {
      config: { access: 'webhook_write' },
      schema: {
        tags,
        operationId: 'updateWebhook',
        summary: 'Change a webhook',
        description:
          'With a new secret, deliveries carry signatures of both for 24 hours. Deactivated, it gives up what still waits to be sent; what happens until it is active again is not told.',
        params: WebhookId,
        body: UpdateWebhook,
        response: { 200: Webhook, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => changeWebhook(services, mutation, request.params.id, request.body)),
  );

  app.delete(
    '/v1/webhooks/:id',
    {
      config: { access: 'webhook_write' },
      schema: {
        tags,
        operationId: 'deleteWebhook',
        summary: 'Delete a webhook',
        description: 'Also deletes its log and its pending deliveries.',
        params: WebhookId,
        response: { 200: DeletedWebhook, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => removeWebhook(mutation, request.params.id)),
  );

  app.post(
    '/v1/webhooks/:id/test',
    {
      config: { access: 'webhook_write', expensive: true },
      schema: {
        tags,
        operationId: 'testWebhook',
        summary: 'Send a test event',
        description: 'Returns the delivery of an event `webhook.test`. Its log entry shows the result.',
        params: WebhookId,
        response: { 200: Delivery, ...errorResponses(401, 403, 404, 409) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => testWebhook(mutation, request.params.id)),
  );

  app.get(
    '/v1/webhooks/:id/deliveries',
    {
      config: { access: 'webhook_read' },
      schema: {
        tags,
        operationId: 'listWebhookDeliveries',
        summary: "List a webhook's deliveries",
        description: 'Ended deliveries are kept for 14 days.',
        params: WebhookId,
        querystring: listQuerySchema(DELIVERY_LIST),
        response: { 200: Type.Array(Delivery), ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) => {
      const { id } = request.params as { id: string };
      await requireWebhook(db, principalOf(request), id);
      return sendList(db, DELIVERY_LIST, request, reply, [sql<boolean>`webhook_id = ${id}::uuid`]);
    },
  );

  app.post(
    '/v1/webhooks/:id/deliveries/:delivery/redeliver',
    {
      config: { access: 'webhook_write', expensive: true },
      schema: {
        tags,
        operationId: 'redeliverWebhook',
        summary: 'Send a delivery again',
        description: 'Sends it with the same id and body, and with the full number of attempts.',
        params: DeliveryId,
        response: { 200: Delivery, ...errorResponses(401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      const { id, delivery } = request.params;
      return mutate(request, reply, (mutation) => redeliver(mutation, id, delivery));
    },
  );
}

import { type CommandDefinition, given, text, texts } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';
import { readText } from './parameters.ts';

const VIEW = {
  columns: [
    field('id'),
    field('url'),
    field('events'),
    field('workspace'),
    field('active'),
    field('failing_since', 'failing since'),
  ],
  name: 'id',
};
const DELIVERY_VIEW = {
  columns: [
    field('id'),
    field('event'),
    field('operation_id', 'operation'),
    field('status'),
    field('attempts'),
    field('response_status', 'answer'),
    field('next_attempt_at', 'next try'),
    field('error'),
  ],
  name: 'id',
};
const EXAMPLE = '01a20f95-0b28-7041-8584-a68ad54fc75b';
const ID = { name: 'id', description: 'id of the webhook' };
const EVENTS = {
  flags: '-e, --event <pattern>',
  description: 'events to send: operation.failed, "server.*", server.create.completed; can be repeated',
  repeatable: true,
};
const SECRET = { flags: '--secret-file <file>', description: 'file with the signing secret (whsec_…)' };

async function secretFrom(file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : (await readText(file, '--secret-file')).trim();
}

/** Who is told of operations, and how that went. */
export const webhookCommands: readonly CommandDefinition[] = [
  {
    name: 'webhook create',
    summary: 'send events to a URL; the secret is shown only once',
    examples: [
      'provisioning webhook create https://example.com/hooks --event operation.failed',
      'provisioning webhook create https://example.com/hooks --event "server.*" --workspace staging',
    ],
    arguments: [{ name: 'url', description: 'URL that receives the deliveries' }],
    options: [
      EVENTS,
      { flags: '-w, --workspace <name>', description: 'only events of this workspace (default: all)' },
      SECRET,
    ],
    covers: ['POST /v1/webhooks'],
    async run(session, [url = ''], options) {
      const body = {
        url,
        ...given({
          events: texts(options, 'event'),
          workspace: text(options, 'workspace'),
          secret: await secretFrom(text(options, 'secretFile')),
        }),
      };
      session.record(await (await session.client()).post('/v1/webhooks', { body }), VIEW);
    },
  },
  listCommand({
    name: 'webhook list',
    summary: 'list webhooks, without their secrets',
    examples: ['provisioning webhook list'],
    path: '/v1/webhooks',
    filters: { workspace: 'only in this workspace', active: 'only active (true) or inactive (false) ones' },
    view: VIEW,
  }),
  {
    name: 'webhook show',
    summary: 'show one webhook',
    examples: [`provisioning webhook show ${EXAMPLE}`],
    arguments: [ID],
    covers: ['GET /v1/webhooks/{id}'],
    async run(session, [id = '']) {
      session.record(await (await session.client()).get('/v1/webhooks/{id}', { path: { id } }), VIEW);
    },
  },
  {
    name: 'webhook update',
    summary: 'change or activate a webhook',
    description: 'After you change the secret, deliveries are signed with both secrets for 24 hours.',
    examples: [
      `provisioning webhook update ${EXAMPLE} --active true`,
      `provisioning webhook update ${EXAMPLE} --secret-file ./new-secret`,
    ],
    arguments: [ID],
    options: [
      { flags: '--url <url>', description: 'URL that receives the deliveries' },
      EVENTS,
      SECRET,
      { flags: '--active <yes>', description: 'whether deliveries are sent', choices: ['true', 'false'] },
    ],
    covers: ['PATCH /v1/webhooks/{id}'],
    async run(session, [id = ''], options) {
      const active = text(options, 'active');
      const body = given({
        url: text(options, 'url'),
        events: texts(options, 'event'),
        secret: await secretFrom(text(options, 'secretFile')),
        active: active === undefined ? undefined : active === 'true',
      });
      if (Object.keys(body).length === 0)
        throw new UsageError('Nothing to change. Give --url, --event, --secret-file or --active.');
      session.record(await (await session.client()).patch('/v1/webhooks/{id}', { path: { id }, body }), VIEW);
    },
  },
  {
    name: 'webhook delete',
    summary: 'delete a webhook, its log and its pending deliveries',
    examples: [`provisioning webhook delete ${EXAMPLE} --yes`],
    arguments: [ID],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/webhooks/{id}'],
    async run(session, [id = '']) {
      await session.confirm(`Delete webhook ${id}?`);
      await (await session.client()).delete('/v1/webhooks/{id}', { path: { id } });
      session.done(`Webhook ${id} deleted.`, { id, deleted: true }, VIEW);
    },
  },
  {
    name: 'webhook test',
    summary: 'send a test event (see the result: provisioning webhook deliveries)',
    examples: [`provisioning webhook test ${EXAMPLE}`],
    arguments: [ID],
    covers: ['POST /v1/webhooks/{id}/test'],
    async run(session, [id = '']) {
      session.record(await (await session.client()).post('/v1/webhooks/{id}/test', { path: { id } }), DELIVERY_VIEW);
    },
  },
  {
    name: 'webhook deliveries',
    summary: 'list the deliveries of a webhook, newest first',
    examples: [`provisioning webhook deliveries ${EXAMPLE} --status failed`],
    arguments: [ID],
    options: [
      { flags: '--status <status>', description: 'only with this status', choices: ['pending', 'delivered', 'failed'] },
      { flags: '--limit <number>', description: 'maximum number of rows, up to 1000', default: '100' },
    ],
    covers: ['GET /v1/webhooks/{id}/deliveries'],
    async run(session, [id = ''], options) {
      const limit = Number(text(options, 'limit'));
      if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) {
        throw new UsageError('--limit must be a whole number from 1 to 1000.');
      }
      const status = ['pending', 'delivered', 'failed'].find((one) => one === options.status);
      const query = { per_page: limit, cursor: '', ...given({ status: status as 'pending' | undefined }) };
      const rows = await (await session.client()).get('/v1/webhooks/{id}/deliveries', { path: { id }, query });
      session.rows(rows, DELIVERY_VIEW);
    },
  },
  {
    name: 'webhook redeliver',
    summary: 'send a delivery again',
    examples: [`provisioning webhook redeliver ${EXAMPLE} 01a20f95-2222-7041-8584-a68ad54fc75b`],
    arguments: [ID, { name: 'delivery', description: 'id of the delivery' }],
    covers: ['POST /v1/webhooks/{id}/deliveries/{delivery}/redeliver'],
    async run(session, [id = '', delivery = '']) {
      const path = { id, delivery };
      const client = await session.client();
      session.record(await client.post('/v1/webhooks/{id}/deliveries/{delivery}/redeliver', { path }), DELIVERY_VIEW);
    },
  },
];

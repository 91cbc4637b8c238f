import createBody from 'virtual:body/v1/webhooks';
import { Code, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useParams } from '@tanstack/react-router';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action, then } from '../components/action.tsx';
import { FormDialog } from '../components/form-dialog.tsx';
import type { FieldSchema } from '../components/json-schema.ts';
import { List, type ListColumn, NothingFound } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { Facts, PageHead, Surface, Tags, To } from '../components/page.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Failure, Heading, Loading, Status, Time } from '../components/states.tsx';
import { webhookById, workspaces } from '../queries.ts';
import { client } from '../session.ts';

type Webhook = Schemas['Webhook'];
type Delivery = Schemas['WebhookDelivery'];
type CreateBody = Parameters<typeof client.post<'/v1/webhooks'>>[1]['body'];
const LIST = '/v1/webhooks';
const EVENTS = createBody.properties?.events ?? {};
const SCHEMA: FieldSchema = {
  ...createBody,
  properties: {
    url: createBody.properties?.url ?? {},
    events: { ...EVENTS, default: ['operation.completed', 'operation.failed', 'operation.cancelled'] },
    workspace: {
      type: 'string',
      description: 'Send only events of this workspace. Leave it empty for all workspaces.',
    },
  },
};

/** Whether it is told anything, and whether that arrives. */
function stateOf({ active, failing_since: failing }: Webhook): string {
  if (!active) return 'inactive';
  return failing === null ? 'active' : 'failing';
}

const COLUMNS: readonly ListColumn<Webhook>[] = [
  { heading: 'URL', cell: ({ id, url }) => <To to={`/webhooks/${id}`}>{url}</To> },
  { heading: 'State', width: '112px', cell: (webhook) => <Status status={stateOf(webhook)} /> },
  {
    heading: 'Events',
    from: 'md',
    cell: ({ events }) => <span title={events.join(', ')}>{events.join(', ')}</span>,
  },
  { heading: 'Workspace', from: 'md', cell: ({ workspace }) => workspace ?? 'all' },
  { heading: 'Created by', from: 'lg', cell: ({ created_by: by }) => by },
];

export function WebhooksPage() {
  const known = useQuery(workspaces);
  return (
    <ListPage
      title="Webhooks"
      about="Send signed events to other systems, at least once."
      filters={[
        { name: 'workspace' },
        {
          name: 'active',
          any: 'any state',
          options: [
            { value: 'true', label: 'active' },
            { value: 'false', label: 'inactive' },
          ],
        },
      ]}
      path={LIST}
      columns={COLUMNS}
      keyOf={({ id }) => id}
      label="webhooks"
      empty="Create a webhook to send events to a chat, a pager or a pipeline."
      actions={
        <Permitted to="webhook_write">
          <FormDialog
            label="New webhook"
            schema={SCHEMA}
            choices={{ workspace: { options: known.data?.map(({ name }) => name) ?? [] } }}
            send="Create"
            run={async (values) => {
              const made = await client.post('/v1/webhooks', { body: values as unknown as CreateBody });
              await then(Promise.resolve(), LIST);
              return made;
            }}
            answer={({ secret }) => (
              <Stack gap="xs">
                <Text size="sm">Deliveries are signed with this secret. Copy it now. It is not shown again.</Text>
                <Code block>{secret}</Code>
              </Stack>
            )}
          />
        </Permitted>
      }
    />
  );
}

function deliveryColumns(webhook: string): readonly ListColumn<Delivery>[] {
  return [
    {
      heading: 'Event',
      cell: ({ event, operation_id: operation }) =>
        operation === null ? event : <To to={`/operations/${operation}`}>{event}</To>,
    },
    { heading: 'Status', width: '112px', cell: ({ status }) => <Status status={status} /> },
    { heading: 'Attempts', width: '70px', from: 'sm', cell: ({ attempts }) => attempts },
    {
      heading: 'Response',
      from: 'md',
      cell: ({ response_status: status, error, response_excerpt: excerpt }) => {
        const text = [status, error ?? excerpt].filter((part) => part !== null).join(': ');
        return <span title={text}>{text || '–'}</span>;
      },
    },
    { heading: 'Created', width: '116px', from: 'sm', cell: ({ created_at: at }) => <Time at={at} /> },
    {
      heading: '',
      width: '110px',
      cell: ({ id, status }) =>
        status === 'pending' ? null : (
          <Permitted to="webhook_write">
            <Action
              variant="default"
              run={() =>
                then(
                  client.post('/v1/webhooks/{id}/deliveries/{delivery}/redeliver', {
                    path: { id: webhook, delivery: id },
                  }),
                  '/v1/webhooks/{id}/deliveries',
                )
              }
            >
              Send again
            </Action>
          </Permitted>
        ),
    },
  ];
}

export function WebhookPage() {
  const { id = '' } = useParams({ strict: false });
  const { data: webhook, error, refetch } = useQuery(webhookById(id));
  const navigate = useNavigate();
  if (webhook === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  const path = { id };
  return (
    <Stack gap="md">
      <PageHead
        title="Webhook"
        up={{ to: '/webhooks', text: 'Webhooks' }}
        status={{ status: stateOf(webhook) }}
        about={webhook.url}
      >
        <Permitted to="webhook_write">
          <Action
            variant="default"
            disabled={!webhook.active}
            run={() => then(client.post('/v1/webhooks/{id}/test', { path }), '/v1/webhooks/{id}/deliveries')}
          >
            Send test
          </Action>
          <Action
            variant="default"
            run={() => then(client.patch('/v1/webhooks/{id}', { path, body: { active: !webhook.active } }), LIST)}
          >
            {webhook.active ? 'Deactivate' : 'Activate'}
          </Action>
          <Action
            color="red"
            variant="outline"
            question="This deletes the webhook, its log and its pending deliveries."
            run={async () => {
              await client.delete('/v1/webhooks/{id}', { path });
              await navigate({ to: '/webhooks' });
              return then(Promise.resolve(), LIST);
            }}
          >
            Delete
          </Action>
        </Permitted>
      </PageHead>
      {webhook.inactive_reason === null ? null : <Failure error={webhook.inactive_reason} />}
      <Facts
        of={[
          ['Events', <Tags key="events" of={webhook.events} />],
          ['Workspace', webhook.workspace ?? 'all'],
          ['Created by', webhook.created_by],
          ['Created', <Time key="created" at={webhook.created_at} exact />],
          webhook.failing_since === null
            ? null
            : ['Failing since', <Time key="failing" at={webhook.failing_since} exact />],
        ]}
      />
      <Heading>Deliveries</Heading>
      <Surface label="Deliveries">
        <List
          embedded
          path="/v1/webhooks/{id}/deliveries"
          parameters={path}
          query={{}}
          columns={deliveryColumns(id)}
          keyOf={({ id: delivery }) => delivery}
          label="deliveries"
          empty={
            <NothingFound what="deliveries" filtered={false}>
              Send a test to check the connection.
            </NothingFound>
          }
        />
      </Surface>
    </Stack>
  );
}

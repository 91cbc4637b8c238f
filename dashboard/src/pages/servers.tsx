import resizeBody from 'virtual:body/v1/servers/{id}?patch';
import { Anchor, Button, Group, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams } from '@tanstack/react-router';
import type { Server } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { FormDialog } from '../components/form-dialog.tsx';
import type { FieldSchema } from '../components/json-schema.ts';
import { List, type ListColumn, NothingFound } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { Facts, PageHead, Surface, Tags, To } from '../components/page.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Failure, Heading, Loading, Status, Time } from '../components/states.tsx';
import { serverById } from '../queries.ts';
import { client } from '../session.ts';
import { GuardActions, guardFact } from './guards.tsx';
import { OPERATION_COLUMNS } from './operations.tsx';
import { DriftOf, HostKeyOf, WITHOUT_SSH } from './server-state.tsx';
import { TASKSERV_COLUMNS } from './taskservs.tsx';

const SERVER_STATUSES = [
  'running',
  'stopped',
  'creating',
  'starting',
  'stopping',
  'restarting',
  'deleting',
  'error',
  'missing',
  'unknown',
] as const;

const { plan, tags } = resizeBody.properties ?? {};
/** Protection and expiry have buttons of their own. */
const RESIZE: FieldSchema = { ...resizeBody, properties: { ...(plan && { plan }), ...(tags && { tags }) } };
type ResizeBody = Parameters<typeof client.patch<'/v1/servers/{id}'>>[1]['body'];

const COLUMNS: readonly ListColumn<Server>[] = [
  { heading: 'Hostname', sort: 'hostname', cell: ({ id, hostname }) => <To to={`/servers/${id}`}>{hostname}</To> },
  { heading: 'Status', width: '112px', cell: ({ status }) => <Status status={status} /> },
  {
    heading: 'Address',
    width: '140px',
    from: 'sm',
    cell: ({ ip_address: address }) => <span className="mono">{address ?? '–'}</span>,
  },
  { heading: 'Plan', from: 'sm', cell: ({ plan }) => plan },
  { heading: 'Zone', from: 'md', cell: ({ zone }) => zone },
  { heading: 'Provider', from: 'lg', cell: ({ provider }) => provider },
  { heading: 'Workspace', from: 'md', cell: ({ workspace }) => workspace },
  {
    heading: 'Created',
    width: '124px',
    from: 'lg',
    sort: 'created_at',
    cell: ({ created_at: at }) => <Time at={at} />,
  },
];

export function ServersPage() {
  return (
    <ListPage
      title="Servers"
      filters={[
        { name: 'status', options: SERVER_STATUSES },
        { name: 'hostname' },
        { name: 'workspace' },
        { name: 'provider' },
        { name: 'zone' },
        { name: 'tag' },
      ]}
      path="/v1/servers"
      columns={COLUMNS}
      keyOf={({ id }) => id}
      label="servers"
      empty={
        <Permitted to="server_create">
          <Anchor component={Link} to="/servers/create" size="sm">
            Create a server
          </Anchor>
        </Permitted>
      }
      actions={
        <Permitted to="server_create">
          <Button size="xs" variant="default" component={Link} to="/servers/import">
            Import existing server
          </Button>
          <Button size="xs" component={Link} to="/servers/create">
            Create a server
          </Button>
        </Permitted>
      }
    />
  );
}

export function ServerPage() {
  const { id = '' } = useParams({ strict: false });
  const { data: server, error, refetch } = useQuery(serverById(id));
  if (server === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  const { hostname, workspace } = server;
  return (
    <Stack gap="md">
      <PageHead title={hostname} up={{ to: '/servers', text: 'Servers' }} status={{ status: server.status }}>
        <ServerActions server={server} />
      </PageHead>
      <Facts
        of={[
          [
            'Address',
            <span key="address" className="mono">
              {server.ip_address ?? '–'}
            </span>,
          ],
          ['Plan', server.plan],
          ['Zone', server.zone],
          ['Provider', server.provider],
          [
            'Workspace',
            <To key="workspace" to={`/workspaces/${workspace}`}>
              {workspace}
            </To>,
          ],
          ['Created', <Time key="created" at={server.created_at} exact />],
          ['Created by', server.created_by],
          [
            'Id',
            <span key="id" className="mono">
              {server.id}
            </span>,
          ],
          ['Tags', <Tags key="tags" of={server.tags} />],
          guardFact({ ...server, name: hostname }),
        ]}
      />
      <DriftOf server={server} />
      {WITHOUT_SSH.includes(server.provider) ? null : <HostKeyOf key={id} server={server} />}
      <Group justify="space-between">
        <Heading>Services</Heading>
        <Permitted to="taskserv_create">
          <Button
            size="xs"
            variant="default"
            component={Link}
            to="/catalog"
            search={{ workspace, server: hostname } as never}
          >
            Install service
          </Button>
        </Permitted>
      </Group>
      <Surface label="Services">
        <List
          embedded
          path="/v1/taskservs"
          query={{ hostname, workspace }}
          columns={TASKSERV_COLUMNS}
          keyOf={({ id: taskservId }) => taskservId}
          label="services"
          empty={
            <NothingFound what="services" filtered={false}>
              No services are installed on this server.
            </NothingFound>
          }
        />
      </Surface>
      <Heading>Activity</Heading>
      <Surface label="Activity">
        <List
          embedded
          path="/v1/operations"
          query={{ resource: `server:${id}` }}
          columns={OPERATION_COLUMNS}
          keyOf={({ id: operationId }) => operationId}
          label="operations"
          empty={<NothingFound what="operations" filtered={false} />}
        />
      </Surface>
    </Stack>
  );
}

function ServerActions({ server }: { server: Server }) {
  const navigate = useNavigate();
  const path = { id: server.id };
  const remove = () =>
    client.delete('/v1/servers/{id}', { path, body: { workspace: server.workspace, server_id: server.id } });
  return (
    <>
      <Permitted to="server_update">
        <Action
          variant="default"
          disabled={server.status !== 'stopped'}
          run={() => client.post('/v1/servers/{id}/start', { path })}
        >
          Start
        </Action>
        <Action
          variant="default"
          disabled={server.status !== 'running'}
          question={`All services on ${server.hostname} stop, too.`}
          run={() => client.post('/v1/servers/{id}/stop', { path })}
        >
          Stop
        </Action>
        <Action
          variant="default"
          disabled={server.status !== 'running'}
          question={`Services on ${server.hostname} are unavailable during the restart.`}
          run={() => client.post('/v1/servers/{id}/restart', { path })}
        >
          Restart
        </Action>
        <FormDialog
          label="Resize"
          title="Change plan or tags"
          about={`To change the plan, ${server.hostname} is stopped and started again. The new tags replace all present tags.`}
          schema={RESIZE}
          send="Change"
          variant="default"
          run={async (values) => {
            const operation = await client.patch('/v1/servers/{id}', { path, body: values as ResizeBody });
            await navigate({ to: '/operations/$id', params: { id: operation.id } });
          }}
        />
      </Permitted>
      <GuardActions
        thing={{ ...server, name: server.hostname }}
        update="server_update"
        query="/v1/servers"
        patch={(body) => client.patch('/v1/servers/{id}', { path, body })}
      />
      <Permitted to="server_delete">
        <Action
          disabled={server.protect}
          color="red"
          variant="outline"
          run={remove}
          question={`This deletes ${server.hostname} and its disks at ${server.provider}. It cannot be undone.`}
        >
          Delete
        </Action>
      </Permitted>
    </>
  );
}

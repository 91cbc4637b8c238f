import { Anchor, Badge, Button, Group, SimpleGrid, Stack, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import type { Server } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { Filters, List, type ListColumn, NothingFound } from '../components/list.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Failure, Loading, Status, Time } from '../components/states.tsx';
import { serverById } from '../queries.ts';
import { client } from '../session.ts';
import { Fact, OPERATION_COLUMNS } from './operations.tsx';
import { TASKSERV_COLUMNS } from './taskservs.tsx';

const COLUMNS: readonly ListColumn<Server>[] = [
  {
    heading: 'Hostname',
    cell: ({ id, hostname }) => (
      <Anchor component={Link} to={`/servers/${id}`} size="sm">
        {hostname}
      </Anchor>
    ),
  },
  { heading: 'Workspace', cell: ({ workspace }) => workspace },
  { heading: 'Provider', cell: ({ provider }) => provider },
  { heading: 'Plan', cell: ({ plan }) => plan },
  { heading: 'Zone', cell: ({ zone }) => zone },
  { heading: 'Address', cell: ({ ip_address: address }) => address ?? '–' },
  { heading: 'Status', cell: ({ status }) => <Status status={status} /> },
];
const FILTERS = ['status', 'hostname', 'workspace', 'provider', 'zone', 'tag'];

export function ServersPage() {
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  return (
    <>
      <Group justify="space-between" mb="sm">
        <Title order={1} size="h3">
          Servers
        </Title>
        <Permitted to="server_create">
          <Button size="xs" component={Link} to="/servers/create">
            Create a server
          </Button>
        </Permitted>
      </Group>
      <Filters names={FILTERS} values={search} onChange={(next) => void navigate({ to: '/servers', search: next })} />
      <List
        path="/v1/servers"
        filters={search}
        columns={COLUMNS}
        keyOf={({ id }) => id}
        label="servers"
        empty={
          <NothingFound what="servers" filtered={Object.keys(search).length > 0}>
            <Anchor component={Link} to="/servers/create">
              Create the first one
            </Anchor>
          </NothingFound>
        }
      />
    </>
  );
}

export function ServerPage() {
  const { id = '' } = useParams({ strict: false });
  const { data: server, error, refetch } = useQuery(serverById(id));
  if (error !== null) return <Failure error={error} onRetry={() => void refetch()} />;
  if (server === undefined) return <Loading />;
  return (
    <Stack>
      <Group justify="space-between">
        <Group gap="sm">
          <Title order={1} size="h3">
            {server.hostname}
          </Title>
          <Status status={server.status} />
        </Group>
        <ServerActions server={server} />
      </Group>
      <SimpleGrid cols={{ base: 2, md: 4 }} spacing="xs">
        <Fact name="Id">{server.id}</Fact>
        <Fact name="Workspace">{server.workspace}</Fact>
        <Fact name="Provider">{server.provider}</Fact>
        <Fact name="Plan">{server.plan}</Fact>
        <Fact name="Zone">{server.zone}</Fact>
        <Fact name="Address">{server.ip_address ?? '–'}</Fact>
        <Fact name="Created">
          <Time at={server.created_at} />
        </Fact>
        <Fact name="Tags">
          {server.tags.length === 0
            ? '–'
            : server.tags.map((tag) => (
                <Badge key={tag} variant="outline" mr={4}>
                  {tag}
                </Badge>
              ))}
        </Fact>
      </SimpleGrid>
      <Title order={2} size="h5">
        Taskservs on it
      </Title>
      <List
        path="/v1/taskservs"
        filters={{ hostname: server.hostname, workspace: server.workspace }}
        columns={TASKSERV_COLUMNS}
        keyOf={({ id: taskservId }) => taskservId}
        label="taskservs"
        empty={<NothingFound what="taskservs" filtered={false} />}
      />
      <Title order={2} size="h5">
        What happened to it
      </Title>
      <List
        path="/v1/operations"
        filters={{ resource: `server:${id}` }}
        columns={OPERATION_COLUMNS}
        keyOf={({ id: operationId }) => operationId}
        label="operations"
        empty={<NothingFound what="operations" filtered={false} />}
      />
    </Stack>
  );
}

function ServerActions({ server }: { server: Server }) {
  const path = { id: server.id };
  const remove = () =>
    client.delete('/v1/servers/{id}', { path, body: { workspace: server.workspace, server_id: server.id } });
  return (
    <Group gap="xs">
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
          run={() => client.post('/v1/servers/{id}/stop', { path })}
        >
          Stop
        </Action>
        <Action
          variant="default"
          disabled={server.status !== 'running'}
          run={() => client.post('/v1/servers/{id}/restart', { path })}
        >
          Restart
        </Action>
      </Permitted>
      <Permitted to="server_delete">
        <Action
          color="red"
          variant="light"
          run={remove}
          question={`${server.hostname} and its disks are deleted at ${server.provider}. This cannot be undone.`}
        >
          Delete
        </Action>
      </Permitted>
    </Group>
  );
}

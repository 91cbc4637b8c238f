import { Anchor, Button, Code, Group, SimpleGrid, Stack, Table, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { Filters, List, type ListColumn, NothingFound } from '../components/list.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Failure, Loading, Status, Time } from '../components/states.tsx';
import { taskservById } from '../queries.ts';
import { client } from '../session.ts';
import { Fact } from './operations.tsx';

type Taskserv = Schemas['Taskserv'];

export const TASKSERV_COLUMNS: readonly ListColumn<Taskserv>[] = [
  {
    heading: 'Taskserv',
    cell: ({ id, name }) => (
      <Anchor component={Link} to={`/taskservs/${id}`} size="sm">
        {name}
      </Anchor>
    ),
  },
  { heading: 'Version', cell: ({ version }) => version },
  { heading: 'Workspace', cell: ({ workspace }) => workspace },
  { heading: 'Servers', cell: ({ servers }) => servers.join(', ') },
  { heading: 'Status', cell: ({ status }) => <Status status={status} /> },
];
const FILTERS = ['status', 'name', 'hostname', 'workspace'];

export function TaskservsPage() {
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  return (
    <>
      <Group justify="space-between" mb="sm">
        <Title order={1} size="h3">
          Taskservs
        </Title>
        <Permitted to="taskserv_create">
          <Button size="xs" component={Link} to="/catalog">
            Install one
          </Button>
        </Permitted>
      </Group>
      <Filters names={FILTERS} values={search} onChange={(next) => void navigate({ to: '/taskservs', search: next })} />
      <List
        path="/v1/taskservs"
        filters={search}
        columns={TASKSERV_COLUMNS}
        keyOf={({ id }) => id}
        label="taskservs"
        empty={
          <NothingFound what="taskservs" filtered={Object.keys(search).length > 0}>
            <Anchor component={Link} to="/catalog">
              Choose one from the catalog
            </Anchor>
          </NothingFound>
        }
      />
    </>
  );
}

export function TaskservPage() {
  const { id = '' } = useParams({ strict: false });
  const { data: taskserv, error, refetch } = useQuery(taskservById(id));
  if (error !== null) return <Failure error={error} onRetry={() => void refetch()} />;
  if (taskserv === undefined) return <Loading />;
  const path = { id };
  return (
    <Stack>
      <Group justify="space-between">
        <Group gap="sm">
          <Title order={1} size="h3">
            {taskserv.name}
          </Title>
          <Status status={taskserv.status} />
        </Group>
        <Group gap="xs">
          <Permitted to="taskserv_create">
            <Action variant="default" run={() => client.post('/v1/taskservs/{id}/check', { path })}>
              Check
            </Action>
            <Action
              variant="default"
              disabled={!['degraded', 'failed'].includes(taskserv.status)}
              run={() => client.post('/v1/taskservs/{id}/retry', { path })}
            >
              Retry where it failed
            </Action>
          </Permitted>
          <Permitted to="taskserv_delete">
            <Action
              color="red"
              variant="light"
              question={`${taskserv.name} is removed from ${taskserv.servers.join(', ')}.`}
              run={() => client.delete('/v1/taskservs/{id}', { path })}
            >
              Remove
            </Action>
          </Permitted>
        </Group>
      </Group>
      <SimpleGrid cols={{ base: 2, md: 4 }} spacing="xs">
        <Fact name="Id">{taskserv.id}</Fact>
        <Fact name="Workspace">{taskserv.workspace}</Fact>
        <Fact name="Version">{taskserv.version}</Fact>
        <Fact name="Installed">
          <Time at={taskserv.created_at} />
        </Fact>
      </SimpleGrid>
      <Hosts hosts={taskserv.hosts} />
      <Title order={2} size="h5">
        Configuration
      </Title>
      <Code block>{JSON.stringify(taskserv.config, null, 2)}</Code>
      {taskserv.secrets.length === 0 ? null : <Fact name="Set, and never shown">{taskserv.secrets.join(', ')}</Fact>}
    </Stack>
  );
}

function Hosts({ hosts }: { hosts: Taskserv['hosts'] }) {
  return (
    <Table.ScrollContainer minWidth={480}>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Server</Table.Th>
            <Table.Th>Status</Table.Th>
            <Table.Th>Version</Table.Th>
            <Table.Th>Checked</Table.Th>
            <Table.Th>Message</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {hosts.map((host) => (
            <Table.Tr key={host.server_id}>
              <Table.Td>
                <Anchor component={Link} to={`/servers/${host.server_id}`} size="sm">
                  {host.server}
                </Anchor>
              </Table.Td>
              <Table.Td>
                <Status status={host.status} />
              </Table.Td>
              <Table.Td>{host.version ?? '–'}</Table.Td>
              <Table.Td>
                <Time at={host.checked_at} />
              </Table.Td>
              <Table.Td>{host.message ?? '–'}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

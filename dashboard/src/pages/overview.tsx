import { Anchor, Card, Group, SimpleGrid, Stack, Table, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { Failure, Loading, Status, Time } from '../components/states.tsx';
import { client } from '../session.ts';

const SERVER_STATUSES = ['running', 'creating', 'stopped', 'deleting', 'error', 'missing'] as const;

function useCount(path: '/v1/servers' | '/v1/operations', status: string) {
  return useQuery({
    queryKey: ['counts', path, status],
    queryFn: ({ signal }) => client.page(path, { filters: { status } as never, perPage: 1, signal }),
  });
}

function Count({ path, status }: { path: '/v1/servers' | '/v1/operations'; status: string }) {
  const { data } = useCount(path, status);
  const to = path === '/v1/servers' ? '/servers' : '/operations';
  return (
    <Card withBorder component={Link} to={to} search={{ status } as never} p="sm">
      <Text size="xl" fw={700}>
        {data === undefined ? '…' : data.totalCapped ? `${data.total}+` : data.total}
      </Text>
      <Status status={status} operation={path === '/v1/operations'} />
    </Card>
  );
}

function Newest({ status, title, none }: { status: 'running' | 'failed'; title: string; none: string }) {
  const { data, error, refetch } = useQuery({
    queryKey: ['/v1/operations', 'newest', status],
    queryFn: ({ signal }) => client.page('/v1/operations', { filters: { status }, perPage: 8, signal }),
  });
  return (
    <Stack gap="xs">
      <Title order={2} size="h5">
        {title}
      </Title>
      {error === null ? null : <Failure error={error} onRetry={() => void refetch()} />}
      {data === undefined && error === null ? <Loading /> : null}
      {data?.rows.length === 0 ? (
        <Text size="sm" c="dimmed">
          {none}
        </Text>
      ) : (
        <Table>
          <Table.Tbody>
            {data?.rows.map((operation) => (
              <Table.Tr key={operation.id}>
                <Table.Td>
                  <Anchor component={Link} to={`/operations/${operation.id}`} size="sm">
                    {operation.kind}
                  </Anchor>
                  <Text size="xs" c="dimmed">
                    {operation.error ?? `${operation.workspace}, by ${operation.created_by}`}
                  </Text>
                </Table.Td>
                <Table.Td ta="right">
                  <Time at={operation.updated_at} />
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Stack>
  );
}

/** What runs now, what failed, and how the fleet stands. */
export function OverviewPage() {
  const health = useQuery({ queryKey: ['health'], queryFn: ({ signal }) => client.get('/health', { signal }) });
  return (
    <Stack>
      <Group justify="space-between">
        <Title order={1} size="h3">
          Overview
        </Title>
        <Text size="sm" c="dimmed">
          {health.data === undefined ? '' : `version ${health.data.version}`}
        </Text>
      </Group>
      <Title order={2} size="h5">
        Servers
      </Title>
      <SimpleGrid cols={{ base: 2, xs: 3, lg: 6 }}>
        {SERVER_STATUSES.map((status) => (
          <Count key={status} path="/v1/servers" status={status} />
        ))}
      </SimpleGrid>
      <Title order={2} size="h5">
        Operations
      </Title>
      <SimpleGrid cols={{ base: 2, xs: 3, lg: 6 }}>
        {['running', 'pending', 'failed'].map((status) => (
          <Count key={status} path="/v1/operations" status={status} />
        ))}
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        <Newest status="running" title="Runs now" none="Nothing is going on." />
        <Newest status="failed" title="Failed last" none="Nothing has failed." />
      </SimpleGrid>
    </Stack>
  );
}

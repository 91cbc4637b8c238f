import { Group, SimpleGrid, Stack, Text } from '@mantine/core';
import { useQueries, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { Operation } from '../../../src/sdk/client.ts';
import { PageHead, Surface, To } from '../components/page.tsx';
import { colorOf, Failure, Heading, Loading, Status, Time } from '../components/states.tsx';
import { client } from '../session.ts';

const SERVER_STATUSES = ['running', 'stopped', 'creating', 'deleting', 'error', 'missing'] as const;
const OPERATION_STATUSES = ['running', 'pending', 'failed'] as const;
/** Operations shown of each kind. */
const SHOWN = 8;

type Counted = '/v1/servers' | '/v1/operations';

function useCounts(path: Counted, statuses: readonly string[]) {
  return useQueries({
    queries: statuses.map((status) => ({
      queryKey: ['counts', path, status],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        client.page(path, { filters: { status } as never, perPage: 1, signal }),
    })),
  });
}

/** How many there are by status, each leading to the list of them. */
function Counts({ path, statuses, bar }: { path: Counted; statuses: readonly string[]; bar?: boolean }) {
  const results = useCounts(path, statuses);
  const failed = results.find(({ error }) => error !== null);
  if (failed?.error) return <Failure error={failed.error} onRetry={() => void failed.refetch()} />;
  const operation = path === '/v1/operations';
  const all = results.reduce((sum, { data }) => sum + (data?.total ?? 0), 0);
  return (
    <>
      {bar && all > 0 ? (
        <div className="fleet-bar" aria-hidden="true">
          {statuses.map((status, n) => {
            const total = results[n]?.data?.total ?? 0;
            return total === 0 ? null : (
              <span
                key={status}
                className="fleet-part"
                data-color={colorOf(status)}
                style={{ flexGrow: total }}
                title={`${status}: ${total}`}
              />
            );
          })}
        </div>
      ) : null}
      <SimpleGrid cols={{ base: 2, xs: 3, lg: statuses.length }} spacing="sm">
        {statuses.map((status, n) => {
          const data = results[n]?.data;
          const number = data === undefined ? '…' : `${data.total.toLocaleString('en')}${data.totalCapped ? '+' : ''}`;
          return (
            <Link
              key={status}
              className="surface count"
              to={operation ? '/operations' : '/servers'}
              search={{ status } as never}
              data-none={data?.total === 0 || undefined}
            >
              <span className="count-number">{number}</span>
              <Status status={status} operation={operation} />
            </Link>
          );
        })}
      </SimpleGrid>
    </>
  );
}

/** The server's name for what an operation works on, where there is one. */
function subjectOf({ resource, workspace, created_by: by }: Operation): string {
  return `${resource === null ? workspace : `${resource.replace(/^\w+:/, '')} in ${workspace}`}, by ${by}`;
}

function Newest({ status, title, none }: { status: 'running' | 'failed'; title: string; none: string }) {
  const { data, error, refetch } = useQuery({
    queryKey: ['/v1/operations', 'newest', status],
    queryFn: ({ signal }) => client.page('/v1/operations', { filters: { status }, perPage: SHOWN, signal }),
  });
  const more = (data?.total ?? 0) > SHOWN;
  return (
    <Stack gap="xs">
      <Group justify="space-between">
        <Heading>{title}</Heading>
        {more ? <To to={`/operations?status=${status}`}>View all</To> : null}
      </Group>
      {error === null ? null : <Failure error={error} onRetry={() => void refetch()} />}
      {data === undefined && error === null ? <Loading /> : null}
      {data === undefined ? null : (
        <Surface label={title}>
          {data.rows.length === 0 ? (
            <Text size="sm" c="dimmed" p="md">
              {none}
            </Text>
          ) : (
            <ul className="newest">
              {data.rows.map((operation) => (
                <li key={operation.id}>
                  <div className="newest-what">
                    <To to={`/operations/${operation.id}`}>{operation.title ?? operation.kind}</To>
                    <Text size="xs" c={operation.error === null ? 'dimmed' : 'var(--app-red)'} lineClamp={2}>
                      {operation.error ?? subjectOf(operation)}
                    </Text>
                  </div>
                  <Text size="xs" c="dimmed" component="div">
                    <Time at={status === 'running' ? operation.created_at : operation.updated_at} />
                  </Text>
                </li>
              ))}
            </ul>
          )}
        </Surface>
      )}
    </Stack>
  );
}

/** What runs now, what failed, and how the fleet stands. */
export function OverviewPage() {
  const health = useQuery({ queryKey: ['health'], queryFn: ({ signal }) => client.get('/health', { signal }) });
  return (
    <Stack gap="sm">
      <PageHead title="Overview">
        <Text size="sm" c="dimmed">
          {health.data === undefined ? '' : `version ${health.data.version}`}
        </Text>
      </PageHead>
      <Heading>Servers</Heading>
      <Counts path="/v1/servers" statuses={SERVER_STATUSES} bar />
      <Heading>Operations</Heading>
      <Counts path="/v1/operations" statuses={OPERATION_STATUSES} />
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="lg">
        <Newest status="running" title="Running" none="No operations are running." />
        <Newest status="failed" title="Recent failures" none="No operation has failed." />
      </SimpleGrid>
    </Stack>
  );
}

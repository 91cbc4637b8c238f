import { Anchor, Code, Group, SimpleGrid, Stack, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import type { Operation } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { EventLog } from '../components/event-log.tsx';
import { Filters, List, type ListColumn, NothingFound } from '../components/list.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Failure, Loading, Status, Time } from '../components/states.tsx';
import { operationById, queryClient } from '../queries.ts';
import { client } from '../session.ts';

export const OPERATION_COLUMNS: readonly ListColumn<Operation>[] = [
  {
    heading: 'Operation',
    cell: ({ id, kind }) => (
      <Anchor component={Link} to={`/operations/${id}`} size="sm">
        {kind}
      </Anchor>
    ),
  },
  { heading: 'Workspace', cell: ({ workspace }) => workspace },
  { heading: 'Status', cell: ({ status }) => <Status status={status} operation /> },
  { heading: 'Progress', cell: ({ progress }) => `${progress} %` },
  { heading: 'By', cell: ({ created_by: by }) => by },
  { heading: 'Created', cell: ({ created_at: at }) => <Time at={at} /> },
];
const FILTERS = ['status', 'kind', 'workspace', 'created_by'];

export function OperationsPage() {
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  return (
    <>
      <Title order={1} size="h3" mb="sm">
        Operations
      </Title>
      <Filters
        names={FILTERS}
        values={search}
        onChange={(next) => void navigate({ to: '/operations', search: next })}
      />
      <List
        path="/v1/operations"
        filters={search}
        columns={OPERATION_COLUMNS}
        keyOf={({ id }) => id}
        label="operations"
        empty={
          <NothingFound what="operations" filtered={Object.keys(search).length > 0}>
            Whatever changes something shows up here.
          </NothingFound>
        }
      />
    </>
  );
}

const FINAL = ['completed', 'failed', 'cancelled'];

export function OperationPage() {
  const { id = '' } = useParams({ strict: false });
  const { data: operation, error, refetch } = useQuery(operationById(id));
  if (error !== null) return <Failure error={error} onRetry={() => void refetch()} />;
  if (operation === undefined) return <Loading />;
  const cancel = async () => {
    await client.post('/v1/operations/{id}/cancel', { path: { id } });
    await queryClient.invalidateQueries({ queryKey: ['/v1/operations', id] });
    return undefined;
  };
  return (
    <Stack>
      <Group justify="space-between">
        <Group gap="sm">
          <Title order={1} size="h3">
            {operation.kind}
          </Title>
          <Status status={operation.status} operation />
        </Group>
        {FINAL.includes(operation.status) ? null : (
          <Permitted to="operation_cancel">
            <Action
              color="red"
              variant="light"
              run={cancel}
              question="The work stops, and what is half made is cleaned up."
            >
              Cancel
            </Action>
          </Permitted>
        )}
      </Group>
      <OperationFacts operation={operation} />
      <EventLog operationId={id} progress={operation.progress} />
      {operation.result === null ? null : (
        <>
          <Title order={2} size="h5">
            Result
          </Title>
          <Code block>{JSON.stringify(operation.result, null, 2)}</Code>
        </>
      )}
    </Stack>
  );
}

function OperationFacts({ operation }: { operation: Operation }) {
  const cleanup = operation.result?.cleanup_operation_id;
  const server = /^server:(.+)$/.exec(operation.resource ?? '')?.[1];
  return (
    <>
      {operation.error === null ? null : <Failure error={operation.error} />}
      <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }} spacing="xs">
        <Fact name="Workspace">{operation.workspace}</Fact>
        <Fact name="By">{operation.created_by}</Fact>
        <Fact name="Created">
          <Time at={operation.created_at} />
        </Fact>
        <Fact name="Last change">
          <Time at={operation.updated_at} />
        </Fact>
        {server === undefined ? null : (
          <Fact name="Server">
            <OperationLink to={`/servers/${server}`} text={server} />
          </Fact>
        )}
        {operation.parent_id === null ? null : (
          <Fact name="Belongs to">
            <OperationLink to={`/operations/${operation.parent_id}`} text={operation.parent_id} />
          </Fact>
        )}
        {typeof cleanup === 'string' ? (
          <Fact name="Tidied up by">
            <OperationLink to={`/operations/${cleanup}`} text={cleanup} />
          </Fact>
        ) : null}
      </SimpleGrid>
    </>
  );
}

function OperationLink({ to, text }: { to: string; text: string }) {
  return (
    <Anchor component={Link} to={to} size="sm">
      {text}
    </Anchor>
  );
}

/** A name and what stands for it. */
export function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <Text size="xs" c="dimmed">
        {name}
      </Text>
      <Text size="sm" component="div">
        {children}
      </Text>
    </div>
  );
}

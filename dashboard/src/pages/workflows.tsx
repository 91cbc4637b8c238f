import { Anchor, Button, Code, Group, SimpleGrid, Stack, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { EventLog } from '../components/event-log.tsx';
import { Filters, List, type ListColumn, NothingFound } from '../components/list.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Failure, Loading, Status, Time } from '../components/states.tsx';
import { StepList } from '../components/step-list.tsx';
import { queryClient, workflowById } from '../queries.ts';
import { client } from '../session.ts';
import { Fact } from './operations.tsx';

type Workflow = Schemas['Workflow'];
const FINAL = ['completed', 'failed', 'cancelled'];
const FILTERS = ['status', 'workflow_type', 'workspace', 'created_by'];
const COLUMNS: readonly ListColumn<Workflow>[] = [
  {
    heading: 'Workflow',
    cell: ({ id, workflow_type: type }) => (
      <Anchor component={Link} to={`/workflows/${id}`} size="sm">
        {type ?? 'without a name'}
      </Anchor>
    ),
  },
  { heading: 'Workspace', cell: ({ workspace }) => workspace },
  { heading: 'Status', cell: ({ status }) => <Status status={status} operation /> },
  { heading: 'Progress', cell: ({ progress }) => `${progress} %` },
  { heading: 'By', cell: ({ created_by: by }) => by },
  { heading: 'Created', cell: ({ created_at: at }) => <Time at={at} /> },
];

export function WorkflowsPage() {
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  return (
    <>
      <Group justify="space-between" mb="sm">
        <Title order={1} size="h3">
          Workflows
        </Title>
        <Permitted to="workflow_submit">
          <Button size="xs" component={Link} to="/workflows/submit">
            Run a workflow
          </Button>
        </Permitted>
      </Group>
      <Filters names={FILTERS} values={search} onChange={(next) => void navigate({ to: '/workflows', search: next })} />
      <List
        path="/v1/workflows"
        filters={search}
        columns={COLUMNS}
        keyOf={({ id }) => id}
        label="workflows"
        empty={
          <NothingFound what="workflows" filtered={Object.keys(search).length > 0}>
            A workflow makes, changes or deletes a whole cluster.
          </NothingFound>
        }
      />
    </>
  );
}

export function WorkflowPage() {
  const { id = '' } = useParams({ strict: false });
  const { data: workflow, error, refetch } = useQuery(workflowById(id));
  if (error !== null) return <Failure error={error} onRetry={() => void refetch()} />;
  if (workflow === undefined) return <Loading />;
  const cancel = async () => {
    await client.post('/v1/workflows/{id}/cancel', { path: { id } });
    await queryClient.invalidateQueries({ queryKey: ['/v1/workflows', id] });
    return undefined;
  };
  return (
    <Stack>
      <Group justify="space-between">
        <Group gap="sm">
          <Title order={1} size="h3">
            {workflow.workflow_type ?? 'Workflow'}
          </Title>
          <Status status={workflow.status} operation />
        </Group>
        {FINAL.includes(workflow.status) ? (
          <Permitted to="workflow_submit">
            <EndedActions workflow={workflow} />
          </Permitted>
        ) : (
          <Permitted to="workflow_cancel">
            <Action
              color="red"
              variant="light"
              run={cancel}
              question="Its steps stop first; what is half made is cleaned up."
            >
              Cancel
            </Action>
          </Permitted>
        )}
      </Group>
      {workflow.error === null ? null : <Failure error={workflow.error} />}
      <SimpleGrid cols={{ base: 2, md: 4 }} spacing="xs">
        <Fact name="Workspace">{workflow.workspace}</Fact>
        <Fact name="By">{workflow.created_by}</Fact>
        <Fact name="Created">
          <Time at={workflow.created_at} />
        </Fact>
        <Fact name="Parameters">
          <Code>{JSON.stringify(workflow.parameters)}</Code>
        </Fact>
      </SimpleGrid>
      <StepList workflowId={id} />
      <EventLog operationId={id} progress={workflow.progress} />
      {workflow.result === null ? null : <Code block>{JSON.stringify(workflow.result, null, 2)}</Code>}
    </Stack>
  );
}

function EndedActions({ workflow }: { workflow: Workflow }) {
  const path = { id: workflow.id };
  return (
    <Group gap="xs">
      <Action
        variant="default"
        disabled={workflow.status === 'completed'}
        run={() => client.post('/v1/workflows/{id}/retry', { path })}
      >
        Retry what failed
      </Action>
      <Action
        color="red"
        variant="light"
        disabled={workflow.rollback_operation_id !== null}
        question="Everything that it did is undone, the last first."
        run={() => client.post('/v1/workflows/{id}/rollback', { path })}
      >
        Roll back
      </Action>
    </Group>
  );
}

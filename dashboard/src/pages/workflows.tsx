import { Button, Group, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { EventLog } from '../components/event-log.tsx';
import type { ListColumn } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { Facts, Json, PageHead, To } from '../components/page.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Cancel, hasEnded, RUN_COLUMNS, RUN_STATUSES, runFacts } from '../components/run.tsx';
import { Failure, Heading, Loading } from '../components/states.tsx';
import { workflowById } from '../queries.ts';
import { client } from '../session.ts';

type Workflow = Schemas['Workflow'];
// The picture brings much.
const LiveSteps = lazy(async () => ({ default: (await import('../components/graph/live-steps.tsx')).LiveSteps }));

const COLUMNS: readonly ListColumn<Workflow>[] = [
  {
    heading: 'Workflow',
    cell: ({ id, workflow_type: type }) => <To to={`/workflows/${id}`}>{type ?? 'unnamed'}</To>,
  },
  ...RUN_COLUMNS,
];

export function WorkflowsPage() {
  return (
    <ListPage
      title="Workflows"
      about="Workflows create, change and delete whole clusters as graphs of operations."
      filters={[
        { name: 'status', options: RUN_STATUSES },
        { name: 'workflow_type' },
        { name: 'workspace' },
        { name: 'created_by' },
      ]}
      path="/v1/workflows"
      columns={COLUMNS}
      keyOf={({ id }) => id}
      label="workflows"
      empty="Run a workflow to see its graph here."
      actions={
        <Permitted to="workflow_submit">
          <Button size="xs" variant="default" component={Link} to="/workflows/editor">
            Write a definition
          </Button>
          <Button size="xs" component={Link} to="/workflows/submit">
            Run a workflow
          </Button>
        </Permitted>
      }
    />
  );
}

export function WorkflowPage() {
  const { id = '' } = useParams({ strict: false });
  const { data: workflow, error, refetch } = useQuery(workflowById(id));
  if (workflow === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  return (
    <Stack gap="md">
      <PageHead
        title={workflow.workflow_type ?? 'Workflow'}
        up={{ to: '/workflows', text: 'Workflows' }}
        status={{ status: workflow.status, operation: true }}
      >
        {hasEnded(workflow) ? <EndedActions workflow={workflow} /> : null}
        <Cancel
          run={workflow}
          permission="workflow_cancel"
          question="Running steps stop, and what is half done is cleaned up. Completed steps are kept; you can roll them back afterwards."
          send={() => client.post('/v1/workflows/{id}/cancel', { path: { id } })}
        />
      </PageHead>
      {workflow.error === null ? null : <Failure error={workflow.error} />}
      <Suspense fallback={<Loading />}>
        <LiveSteps workflowId={id} />
      </Suspense>
      <EventLog operationId={id} progress={workflow.progress} status={workflow.status} />
      <Facts of={[...runFacts(workflow), ...relatives(workflow)]} />
      <Heading>Parameters</Heading>
      <Json value={workflow.parameters} label="Parameters" />
      {workflow.result === null ? null : (
        <>
          <Heading>Result</Heading>
          <Json value={workflow.result} label="Result" />
        </>
      )}
    </Stack>
  );
}

/** The runs and operations that this one has to do with. */
function relatives(workflow: Workflow) {
  const { retry_of: of, retried_by: by, rollback_operation_id: rollback, parent_id: parent } = workflow;
  const link = (name: string, to: string, text: string) =>
    [
      name,
      <To key={name} to={to}>
        {text}
      </To>,
    ] as const;
  return [
    parent === null ? null : link('Part of', `/workflows/${parent}`, 'View workflow'),
    of === null ? null : link('Retry of', `/workflows/${of}`, 'Previous run'),
    by === null ? null : link('Retried as', `/workflows/${by}`, 'Next run'),
    rollback === null ? null : link('Rolled back by', `/operations/${rollback}`, 'View rollback'),
  ];
}

function EndedActions({ workflow }: { workflow: Workflow }) {
  const path = { id: workflow.id };
  return (
    <Group gap="xs">
      {workflow.status === 'completed' || workflow.retried_by !== null ? null : (
        <Permitted to="workflow_submit">
          <Action variant="default" run={() => client.post('/v1/workflows/{id}/retry', { path })}>
            Retry failed steps
          </Action>
        </Permitted>
      )}
      {workflow.rollback_operation_id !== null || workflow.retried_by !== null ? null : (
        <Permitted to="workflow_cancel">
          <Action
            color="red"
            variant="outline"
            question="This undoes everything that the workflow did, in reverse order."
            run={() => client.post('/v1/workflows/{id}/rollback', { path })}
          >
            Roll back
          </Action>
        </Permitted>
      )}
    </Group>
  );
}

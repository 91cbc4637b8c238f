import createBody from 'virtual:body/v1/schedules';
import { Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action, then } from '../components/action.tsx';
import { FormDialog } from '../components/form-dialog.tsx';
import type { FieldSchema } from '../components/json-schema.ts';
import type { ListColumn } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { To } from '../components/page.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Time } from '../components/states.tsx';
import { activeWorkspaceOf, workflowTypesOf, workspaces } from '../queries.ts';
import { client } from '../session.ts';

type Schedule = Schemas['Schedule'];
type Body = Parameters<typeof client.post<'/v1/schedules'>>[1]['body'];
const FIELDS = ['name', 'workspace', 'workflow_type', 'cron', 'timezone', 'parameters', 'overlap', 'missed'];
const SCHEMA: FieldSchema = {
  ...createBody,
  properties: Object.fromEntries(FIELDS.map((name) => [name, createBody.properties?.[name] ?? {}])),
};

const COLUMNS: readonly ListColumn<Schedule>[] = [
  { heading: 'Schedule', cell: ({ name }) => name },
  { heading: 'Workflow', from: 'sm', cell: ({ workflow_type: type }) => type },
  { heading: 'When', from: 'sm', cell: ({ cron, timezone }) => <span className="mono">{`${cron} ${timezone}`}</span> },
  { heading: 'Workspace', from: 'lg', cell: ({ workspace }) => workspace },
  { heading: 'Next run', width: '112px', cell: ({ next_run_at: at }) => <Time at={at} /> },
  { heading: 'Last run', width: '132px', from: 'md', cell: (schedule) => <LastRun of={schedule} /> },
  {
    heading: '',
    width: '104px',
    cell: ({ id, name }) => (
      <Permitted to="workflow_cancel">
        <Action
          color="red"
          variant="outline"
          question={`${name} will not start any more workflows. Workflows that it started continue.`}
          run={() => then(client.delete('/v1/schedules/{id}', { path: { id } }), '/v1/schedules')}
        >
          Delete
        </Action>
      </Permitted>
    ),
  },
];

function LastRun({ of: { last_error: error, last_workflow_id: workflow, last_run_at: at } }: { of: Schedule }) {
  if (error !== null)
    return (
      <Text size="sm" c="var(--app-red)" title={error} truncate>
        {error}
      </Text>
    );
  return workflow === null ? (
    <Time at={at} />
  ) : (
    <To to={`/workflows/${workflow}`}>
      <Time at={at} />
    </To>
  );
}

function NewSchedule() {
  const known = useQuery(workspaces);
  const [workspace, setWorkspace] = useState<string>();
  const types = useQuery(workflowTypesOf(workspace ?? activeWorkspaceOf(known.data) ?? ''));
  return (
    <FormDialog
      label="New schedule"
      about="The schedule runs workflows on your behalf, with your present roles."
      schema={SCHEMA}
      choices={{
        workspace: { options: known.data?.map(({ name }) => name) ?? [] },
        workflow_type: { options: types.data?.map(({ name }) => name) ?? [] },
      }}
      onChange={(values) => setWorkspace(values.workspace as string | undefined)}
      send="Create"
      run={(values) => then(client.post('/v1/schedules', { body: values as unknown as Body }), '/v1/schedules')}
    />
  );
}

export function SchedulesPage() {
  return (
    <ListPage
      title="Schedules"
      about="Scheduled workflows."
      filters={[{ name: 'name' }, { name: 'workflow_type' }, { name: 'workspace' }]}
      path="/v1/schedules"
      columns={COLUMNS}
      keyOf={({ id }) => id}
      label="schedules"
      empty="A schedule runs a workflow at set times, for example every night."
      actions={
        <Permitted to="workflow_submit">
          <NewSchedule />
        </Permitted>
      }
    />
  );
}

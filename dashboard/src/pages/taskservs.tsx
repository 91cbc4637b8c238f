import updateBody from 'virtual:body/v1/taskservs/{id}?patch';
import { Anchor, Button, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams } from '@tanstack/react-router';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { FormDialog } from '../components/form-dialog.tsx';
import type { FieldSchema } from '../components/json-schema.ts';
import { List, type ListColumn, NothingFound } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { Facts, Json, PageHead, Surface, To } from '../components/page.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Failure, Heading, Loading, Status, Time } from '../components/states.tsx';
import { serversOf, taskservById } from '../queries.ts';
import { client } from '../session.ts';
import { GuardActions, guardFact } from './guards.tsx';
import { OPERATION_COLUMNS } from './operations.tsx';

type Taskserv = Schemas['Taskserv'];
type UpdateBody = Parameters<typeof client.patch<'/v1/taskservs/{id}'>>[1]['body'];

const { servers, version, force } = updateBody.properties ?? {};
/** The configuration is changed where the catalog's form knows its fields: by installing again. */
const UPDATE: FieldSchema = {
  ...updateBody,
  properties: { ...(servers && { servers }), ...(version && { version }), ...(force && { force }) },
};

export const TASKSERV_COLUMNS: readonly ListColumn<Taskserv>[] = [
  { heading: 'Service', cell: ({ id, name }) => <To to={`/taskservs/${id}`}>{name}</To> },
  { heading: 'Status', width: '112px', cell: ({ status }) => <Status status={status} /> },
  {
    heading: 'Servers',
    from: 'sm',
    cell: ({ servers }) => <span title={servers.join(', ')}>{servers.join(', ')}</span>,
  },
  { heading: 'Version', width: '140px', from: 'md', cell: ({ version }) => version },
  { heading: 'Workspace', from: 'lg', cell: ({ workspace }) => workspace },
];

export function TaskservsPage() {
  return (
    <ListPage
      title="Services"
      about="Services on servers (taskservs in the API), and their health."
      filters={[
        { name: 'status', options: ['running', 'installing', 'degraded', 'failed', 'removing'] },
        { name: 'name' },
        { name: 'hostname' },
        { name: 'workspace' },
      ]}
      path="/v1/taskservs"
      columns={TASKSERV_COLUMNS}
      keyOf={({ id }) => id}
      label="services"
      empty={
        <Anchor component={Link} to="/catalog" size="sm">
          Choose a service from the catalog
        </Anchor>
      }
      actions={
        <Permitted to="taskserv_create">
          <Button size="xs" component={Link} to="/catalog">
            Install service
          </Button>
        </Permitted>
      }
    />
  );
}

export function TaskservPage() {
  const { id = '' } = useParams({ strict: false });
  const { data: taskserv, error, refetch } = useQuery(taskservById(id));
  if (taskserv === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  return (
    <Stack gap="md">
      <PageHead title={taskserv.name} up={{ to: '/taskservs', text: 'Services' }} status={{ status: taskserv.status }}>
        <TaskservActions taskserv={taskserv} />
      </PageHead>
      <Facts
        of={[
          ['Version', taskserv.version],
          [
            'Workspace',
            <To key="workspace" to={`/workspaces/${taskserv.workspace}`}>
              {taskserv.workspace}
            </To>,
          ],
          ['Installed', <Time key="installed" at={taskserv.created_at} exact />],
          ['Installed by', taskserv.created_by],
          [
            'Id',
            <span key="id" className="mono">
              {taskserv.id}
            </span>,
          ],
          guardFact(taskserv),
          taskserv.secrets.length === 0 ? null : ['Secret settings', taskserv.secrets.join(', ')],
        ]}
      />
      <Heading>Servers</Heading>
      <Hosts hosts={taskserv.hosts} />
      <Heading>Configuration</Heading>
      <Json value={taskserv.config} label="Configuration" />
      <Heading>Activity</Heading>
      <Surface label="Activity">
        <List
          embedded
          path="/v1/operations"
          query={{ resource: `taskserv:${id}` }}
          columns={OPERATION_COLUMNS}
          keyOf={({ id: operationId }) => operationId}
          label="operations"
          empty={<NothingFound what="operations" filtered={false} />}
        />
      </Surface>
    </Stack>
  );
}

function TaskservActions({ taskserv }: { taskserv: Taskserv }) {
  const { id, name, status, servers, workspace } = taskserv;
  const path = { id };
  const navigate = useNavigate();
  const candidates = useQuery(serversOf(workspace));
  return (
    <>
      <Permitted to="taskserv_create">
        <Action variant="default" run={() => client.post('/v1/taskservs/{id}/check', { path })}>
          Check
        </Action>
        <Action
          variant="default"
          disabled={!['degraded', 'failed'].includes(status)}
          run={() => client.post('/v1/taskservs/{id}/retry', { path })}
        >
          Retry failed servers
        </Action>
      </Permitted>
      <Permitted to="taskserv_update">
        <FormDialog
          label="Change"
          title={`Change the servers or the version of ${name}`}
          about={`It runs on ${servers.join(', ')}. List all servers that it should run on. New servers join; removed servers are drained first.`}
          schema={UPDATE}
          choices={{ servers: { options: candidates.data?.rows.map(({ hostname }) => hostname) ?? [] } }}
          send="Change"
          variant="default"
          run={async (values) => {
            const operation = await client.patch('/v1/taskservs/{id}', { path, body: values as UpdateBody });
            await navigate({ to: '/operations/$id', params: { id: operation.id } });
          }}
        />
      </Permitted>
      <GuardActions
        thing={taskserv}
        update="taskserv_update"
        query="/v1/taskservs"
        patch={(body) => client.patch('/v1/taskservs/{id}', { path, body })}
      />
      <Permitted to="taskserv_delete">
        <Action
          disabled={taskserv.protect}
          color="red"
          variant="outline"
          question={`This removes ${name} from ${servers.join(', ')}.`}
          run={() => client.delete('/v1/taskservs/{id}', { path })}
        >
          Remove
        </Action>
      </Permitted>
    </>
  );
}

function Hosts({ hosts }: { hosts: Taskserv['hosts'] }) {
  return (
    <Surface label="Servers">
      <table className="plain-table">
        <thead>
          <tr>
            <th scope="col">Server</th>
            <th scope="col" style={{ width: 112 }}>
              Status
            </th>
            <th scope="col" className="from-sm" style={{ width: 120 }}>
              Version
            </th>
            <th scope="col" className="from-md" style={{ width: 124 }}>
              Checked
            </th>
            <th scope="col" className="from-sm" style={{ width: '40%' }}>
              Message
            </th>
          </tr>
        </thead>
        <tbody>
          {hosts.map((host) => (
            <tr key={host.server_id}>
              <td>
                <To to={`/servers/${host.server_id}`}>{host.server}</To>
              </td>
              <td>
                <Status status={host.status} />
              </td>
              <td className="from-sm">{host.version ?? '–'}</td>
              <td className="from-md">
                <Time at={host.checked_at} />
              </td>
              <td className="from-sm">{host.message ?? '–'}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Surface>
  );
}

import credentialsBody from 'virtual:body/v1/workspaces/{name}/credentials/{provider}?put';
import secretBody from 'virtual:body/v1/workspaces/{name}/secrets/{key}?put';
import keyBody from 'virtual:body/v1/workspaces/{name}/ssh-key?put';
import createBody from 'virtual:body/v1/workspaces/create';
import { Badge, Group, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useParams } from '@tanstack/react-router';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action, then } from '../components/action.tsx';
import { FormDialog } from '../components/form-dialog.tsx';
import type { FieldSchema } from '../components/json-schema.ts';
import { WorkspaceLimits } from '../components/limits.tsx';
import type { ListColumn } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { Facts, PageHead, Surface, To } from '../components/page.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Empty, Failure, Heading, Loading, Time } from '../components/states.tsx';
import { credentialsOf, secretsOf, sshKeyOf, workspaceByName } from '../queries.ts';
import { client } from '../session.ts';

type Credentials = Schemas['ProviderCredentials'];
type Workspace = { name: string; path: string; active: boolean; last_used: string | null };
type CreateBody = Parameters<typeof client.post<'/v1/workspaces/create'>>[1]['body'];
type KeyBody = Parameters<typeof client.put<'/v1/workspaces/{name}/ssh-key'>>[1]['body'];
const LIST = '/v1/workspaces';

const COLUMNS: readonly ListColumn<Workspace>[] = [
  {
    heading: 'Workspace',
    sort: 'name',
    cell: ({ name, active }) => (
      <Group gap="xs" wrap="nowrap">
        <To to={`/workspaces/${name}`}>{name}</To>
        {active ? (
          <Badge variant="default" tt="none" fw={500}>
            active
          </Badge>
        ) : null}
      </Group>
    ),
  },
  {
    heading: 'Files',
    from: 'md',
    cell: ({ path }) => (
      <span className="mono" title={path}>
        {path}
      </span>
    ),
  },
  { heading: 'Last used', width: '124px', cell: ({ last_used: at }) => <Time at={at} /> },
];

export function WorkspacesPage() {
  return (
    <ListPage
      title="Workspaces"
      about="A workspace groups servers, with their files, SSH key and cloud credentials."
      filters={[{ name: 'name' }]}
      path={LIST}
      columns={COLUMNS}
      keyOf={({ name }) => name}
      label="workspaces"
      empty="Every server belongs to a workspace. Create one first."
      actions={
        <Permitted to="workspace_create">
          <FormDialog
            label="New workspace"
            schema={createBody}
            send="Create"
            run={(values) =>
              then(client.post('/v1/workspaces/create', { body: values as unknown as CreateBody }), LIST)
            }
          />
        </Permitted>
      }
    />
  );
}

export function WorkspacePage() {
  const { id: name = '' } = useParams({ strict: false });
  const { data: workspace, error, refetch } = useQuery(workspaceByName(name));
  const navigate = useNavigate();
  if (workspace === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  return (
    <Stack gap="md">
      <PageHead title={name} up={{ to: '/workspaces', text: 'Workspaces' }}>
        {workspace.active ? null : (
          <Permitted to="workspace_update">
            <Action
              variant="default"
              run={() => then(client.post('/v1/workspaces/{name}/activate', { path: { name } }), LIST)}
            >
              Make active
            </Action>
          </Permitted>
        )}
        <Permitted to="workspace_delete">
          <Action
            color="red"
            variant="outline"
            question={`This deletes workspace ${name}. It must have no servers. Its files are kept.`}
            run={async () => {
              await client.delete('/v1/workspaces/{name}', { path: { name } });
              await navigate({ to: '/workspaces' });
              return then(Promise.resolve(), LIST);
            }}
          >
            Delete
          </Action>
        </Permitted>
      </PageHead>
      <Facts
        of={[
          ['Active', workspace.active ? 'yes: used when no workspace is given' : 'no'],
          ['Last used', <Time key="used" at={workspace.last_used} exact />],
          [
            'Servers',
            <To key="servers" to={`/servers?workspace=${name}`}>
              View servers
            </To>,
          ],
          [
            'Files',
            <span key="files" className="mono">
              {workspace.path}
            </span>,
            'wide',
          ],
        ]}
      />
      <SshKey workspace={name} />
      <Accounts workspace={name} />
      <Permitted to="secret_read">
        <Secrets workspace={name} />
      </Permitted>
      <WorkspaceLimits workspace={name} />
    </Stack>
  );
}

function SshKey({ workspace }: { workspace: string }) {
  const { data: key, error, refetch } = useQuery(sshKeyOf(workspace));
  const path = { name: workspace };
  return (
    <>
      <Group justify="space-between">
        <Heading>SSH key</Heading>
        <Permitted to="workspace_update">
          <FormDialog
            label="Replace key"
            variant="default"
            about="Existing servers accept only the present key. Add the new public key to them first."
            schema={keyBody}
            send="Replace key"
            run={(values) =>
              then(client.put('/v1/workspaces/{name}/ssh-key', { path, body: values as unknown as KeyBody }), LIST)
            }
          />
        </Permitted>
      </Group>
      {error === null ? null : <Failure error={error} onRetry={() => void refetch()} />}
      {key === undefined ? null : (
        <Facts
          of={[
            [
              'Fingerprint',
              <span key="fingerprint" className="mono">
                {key.fingerprint}
              </span>,
              'wide',
            ],
            ['Source', key.generated ? 'generated' : 'imported'],
            [
              'For authorized_keys',
              <span key="public" className="mono">
                {key.public_key}
              </span>,
              'wide',
            ],
          ]}
        />
      )}
    </>
  );
}

/** What may be given of each cloud's credentials. */
const CREDENTIALS: Record<string, { fields: string[]; required: string[] }> = {
  upcloud: { fields: ['token', 'username', 'password'], required: [] },
  hetzner: { fields: ['token'], required: ['token'] },
  aws: {
    fields: ['access_key_id', 'secret_access_key', 'session_token', 'region'],
    required: ['access_key_id', 'secret_access_key'],
  },
};

function credentialsSchema(provider: string): FieldSchema {
  const { fields, required } = CREDENTIALS[provider] ?? { fields: [], required: [] };
  const properties = fields.map((name): [string, FieldSchema] => [
    name,
    { ...credentialsBody.properties?.[name], secret: name !== 'region' && name !== 'username' },
  ]);
  return { type: 'object', required, properties: Object.fromEntries(properties) };
}

function Accounts({ workspace }: { workspace: string }) {
  const { data, error, refetch } = useQuery(credentialsOf(workspace));
  const path = (provider: string) => ({ name: workspace, provider });
  return (
    <>
      <Heading>Cloud credentials</Heading>
      <Text size="sm" c="dimmed">
        Without its own credentials, the workspace uses those of the installation. New credentials are verified with the
        cloud, stored encrypted and never shown.
      </Text>
      {error === null ? null : <Failure error={error} onRetry={() => void refetch()} />}
      <Surface label="Cloud credentials">
        {data?.length === 0 ? (
          <Empty title="No own credentials">The workspace uses those of the installation.</Empty>
        ) : null}
        {data === undefined || data.length === 0 ? null : (
          <table className="plain-table">
            <thead>
              <tr>
                <th scope="col">Cloud</th>
                <th scope="col">Fields</th>
                <th scope="col" className="from-sm">
                  Changed
                </th>
                <th scope="col" style={{ width: 96 }}>
                  <span className="mantine-visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {data.map((account: Credentials) => (
                <tr key={account.provider}>
                  <td>{account.provider}</td>
                  <td>{account.fields.join(', ')}</td>
                  <td className="from-sm">
                    <Time at={account.updated_at} />, by {account.updated_by}
                  </td>
                  <td>
                    <Permitted to="credential_write">
                      <Action
                        color="red"
                        variant="outline"
                        question={`${workspace} will use the installation's credentials for ${account.provider} again.`}
                        run={() =>
                          then(
                            client.delete('/v1/workspaces/{name}/credentials/{provider}', {
                              path: path(account.provider),
                            }),
                            LIST,
                          )
                        }
                      >
                        Delete
                      </Action>
                    </Permitted>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Surface>
      <Permitted to="credential_write">
        <Group gap="xs">
          {Object.keys(CREDENTIALS).map((provider) => (
            <FormDialog
              key={provider}
              label={`Set ${provider} credentials`}
              variant="default"
              about={`New servers of ${workspace} will be created in this account.`}
              schema={credentialsSchema(provider)}
              send="Verify and save"
              run={(body) =>
                then(client.put('/v1/workspaces/{name}/credentials/{provider}', { path: path(provider), body }), LIST)
              }
            />
          ))}
        </Group>
      </Permitted>
    </>
  );
}

const SECRET: FieldSchema = {
  type: 'object',
  required: ['key', 'value'],
  properties: {
    key: { type: 'string', pattern: '^[a-z][a-z0-9_]{0,62}$', description: 'Lower-case letters, digits and _.' },
    value: { ...secretBody.properties?.value, secret: true },
  },
};

function Secrets({ workspace }: { workspace: string }) {
  const { data, error, refetch } = useQuery(secretsOf(workspace));
  const set = (key: string, value: string) =>
    then(client.put('/v1/workspaces/{name}/secrets/{key}', { path: { name: workspace, key }, body: { value } }), LIST);
  return (
    <>
      <Group justify="space-between">
        <Heading>Secrets</Heading>
        <Permitted to="secret_write">
          <FormDialog
            label="Set secret"
            variant="default"
            about="Setting an existing secret creates a new version. Values are stored encrypted and never shown."
            schema={SECRET}
            send="Set secret"
            run={({ key, value }) => set(String(key), String(value))}
          />
        </Permitted>
      </Group>
      <Text size="sm" c="dimmed">
        Workflows refer to a secret as <code>{'${{ secrets.workspace.<key> }}'}</code>, and configurations of services
        as <code>{'{"$secret": "<key>"}'}</code>.
      </Text>
      {error === null ? null : <Failure error={error} onRetry={() => void refetch()} />}
      <Surface label="Secrets">
        {data?.length === 0 ? (
          <Empty title="No secrets">Set a secret to use it in workflows and services.</Empty>
        ) : null}
        {data === undefined || data.length === 0 ? null : (
          <table className="plain-table">
            <thead>
              <tr>
                <th scope="col">Key</th>
                <th scope="col">Version</th>
                <th scope="col" className="from-sm">
                  Changed
                </th>
                <th scope="col" style={{ width: 96 }}>
                  <span className="mantine-visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {data.map(({ key, version, updated_at: at, updated_by: by }) => (
                <tr key={key}>
                  <td className="mono">{key}</td>
                  <td>{version}</td>
                  <td className="from-sm">
                    <Time at={at} />, by {by}
                  </td>
                  <td>
                    <Permitted to="secret_write">
                      <Action
                        color="red"
                        variant="outline"
                        question={`Workflows and schedules of ${workspace} that refer to ${key} will fail.`}
                        run={() =>
                          then(
                            client.delete('/v1/workspaces/{name}/secrets/{key}', { path: { name: workspace, key } }),
                            LIST,
                          )
                        }
                      >
                        Delete
                      </Action>
                    </Permitted>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Surface>
    </>
  );
}

import createBody from 'virtual:body/v1/users';
import { Group, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action, then } from '../components/action.tsx';
import { FormDialog } from '../components/form-dialog.tsx';
import type { FieldSchema } from '../components/json-schema.ts';
import type { ListColumn } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { Permitted } from '../components/permitted.tsx';
import { proofOf, proofSchema } from '../components/proof.ts';
import { Status, Time } from '../components/states.tsx';
import { totpState, workspaces } from '../queries.ts';
import { client } from '../session.ts';

type User = Schemas['User'];
type Role = User['roles'][number]['role'];
const LIST = '/v1/users';

/** Bindings as a person reads them. */
export function rolesText(roles: User['roles']): string {
  return roles.map(({ role, workspace }) => (workspace == null ? role : `${role} in ${workspace}`)).join(', ') || '–';
}

/** A role in one workspace or all, for a form: the API takes a list of such pairs. */
const ROLE_FIELDS: Record<string, FieldSchema> = {
  role: { ...createBody.properties?.roles?.items?.properties?.role, description: 'Role of the user.' },
  workspace: { type: 'string', description: 'Limits the role to one workspace. Leave it empty for all workspaces.' },
};
const NEW_USER: FieldSchema = {
  type: 'object',
  required: ['username', 'password', 'role'],
  properties: {
    username: { ...createBody.properties?.username, description: 'Lower-case letters, digits, dots, hyphens.' },
    password: { ...createBody.properties?.password, secret: true },
    ...ROLE_FIELDS,
  },
};
const NEW_ROLE: FieldSchema = { type: 'object', required: ['role'], properties: ROLE_FIELDS };
const NEW_PASSWORD: FieldSchema = {
  type: 'object',
  required: ['password'],
  properties: { password: { ...createBody.properties?.password, secret: true } },
};

/** The form that also asks for what vouches for the caller. @param always not only for an administrator. */
function withProof(schema: FieldSchema, proof: ReturnType<typeof proofSchema>, always: boolean): FieldSchema {
  const about = always ? '' : ' Needed for the role admin in every workspace.';
  const fields = Object.entries(proof.properties).map(([name, field]) => [
    name,
    { ...field, description: `${field.description}${about}` },
  ]);
  return {
    ...schema,
    required: [...(schema.required ?? []), ...(always ? proof.required : [])],
    properties: { ...schema.properties, ...Object.fromEntries(fields) },
  };
}

/** What was entered of it, if anything was. */
const proofIn = (values: Record<string, unknown>) =>
  values.your_password === undefined ? {} : { proof: proofOf(values) };

function administers({ roles }: User): boolean {
  return roles.some(({ role, workspace }) => role === 'admin' && workspace === null);
}

/** What vouches for whoever is signed in. */
function useProof() {
  const { data } = useQuery(totpState);
  return proofSchema(data?.enabled === true);
}

function roleOf({ role, workspace }: Record<string, unknown>) {
  return { role: role as Role, workspace: workspace === undefined ? null : String(workspace) };
}

const COLUMNS: readonly ListColumn<User>[] = [
  { heading: 'User', cell: ({ username }) => username },
  { heading: 'Roles', cell: ({ roles }) => <span title={rolesText(roles)}>{rolesText(roles)}</span> },
  {
    heading: 'State',
    width: '110px',
    from: 'md',
    cell: ({ disabled }) => <Status status={disabled ? 'disabled' : 'enabled'} />,
  },
  { heading: 'Created', width: '120px', from: 'lg', cell: ({ created_at: at }) => <Time at={at} /> },
  {
    heading: '',
    width: '112px',
    cell: (user) => (
      <Permitted to="user_write">
        <UserDialog user={user} />
      </Permitted>
    ),
  },
];

/** What can be done to one user, behind one button: a row has room for no more. */
function UserDialog({ user }: { user: User }) {
  const known = useQuery(workspaces);
  const proof = useProof();
  const path = { id: user.id };
  const patch = (body: Parameters<typeof client.patch<'/v1/users/{id}'>>[1]['body']) =>
    then(client.patch('/v1/users/{id}', { path, body }), LIST);
  return (
    <FormDialog
      label="Change"
      title={user.username}
      variant="default"
      about={`Present roles: ${rolesText(user.roles)}. An added role takes effect at once.`}
      schema={withProof(NEW_ROLE, proof, false)}
      choices={{ workspace: { options: known.data?.map(({ name }) => name) ?? [] } }}
      send="Add role"
      run={(values) => patch({ roles: [...user.roles, roleOf(values)], ...proofIn(values) })}
    >
      <Stack gap="xs">
        <Group gap="xs">
          {user.disabled && administers(user) ? (
            <FormDialog
              label="Enable"
              variant="default"
              schema={proof}
              send="Enable"
              run={(values) => patch({ disabled: false, proof: proofOf(values) })}
            />
          ) : (
            <Action variant="default" run={() => patch({ disabled: !user.disabled })}>
              {user.disabled ? 'Enable' : 'Disable'}
            </Action>
          )}
          <FormDialog
            label="Set password"
            variant="default"
            schema={withProof(NEW_PASSWORD, proof, true)}
            send="Set password"
            run={({ password, ...values }) => patch({ password: String(password), proof: proofOf(values) })}
          />
          {user.totp_enabled ? (
            <FormDialog
              label="Reset second factor"
              variant="default"
              about={`${user.username} can then sign in with only the password. All their sessions end.`}
              schema={proof}
              send="Reset second factor"
              run={(values) => then(client.post('/v1/users/{id}/totp/remove', { path, body: proofOf(values) }), LIST)}
            />
          ) : null}
          <Action
            variant="default"
            disabled={user.roles.length === 0}
            question={`${user.username} loses all permissions.`}
            run={() => patch({ roles: [] })}
          >
            Remove all roles
          </Action>
          <Action
            color="red"
            variant="outline"
            run={() => then(client.delete('/v1/users/{id}', { path }), LIST)}
            question={`This deletes ${user.username} and all their logins and tokens.`}
          >
            Delete
          </Action>
        </Group>
      </Stack>
    </FormDialog>
  );
}

function NewUser() {
  const known = useQuery(workspaces);
  const proof = useProof();
  return (
    <FormDialog
      label="New user"
      schema={withProof(NEW_USER, proof, false)}
      choices={{ workspace: { options: known.data?.map(({ name }) => name) ?? [] } }}
      send="Create"
      run={({ username, password, ...values }) => {
        const roles = [roleOf(values)];
        const body = { username: String(username), password: String(password), roles, ...proofIn(values) };
        return then(client.post('/v1/users', { body }), LIST);
      }}
    />
  );
}

export function UsersPage() {
  return (
    <ListPage
      title="Users"
      filters={[
        { name: 'username' },
        {
          name: 'disabled',
          any: 'any state',
          options: [
            { value: 'false', label: 'enabled' },
            { value: 'true', label: 'disabled' },
          ],
        },
      ]}
      path="/v1/users"
      columns={COLUMNS}
      keyOf={({ id }) => id}
      label="users"
      actions={
        <Permitted to="user_write">
          <NewUser />
        </Permitted>
      }
    />
  );
}

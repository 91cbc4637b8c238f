import { Button, Group, PasswordInput, Select, Stack, TextInput, Title } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { List, type ListColumn, NothingFound } from '../components/list.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Failure, Status, Time } from '../components/states.tsx';
import { queryClient } from '../queries.ts';
import { client } from '../session.ts';

type User = Schemas['User'];
const ROLES = ['admin', 'operator', 'developer', 'viewer', 'auditor'] as const;
const refresh = () => queryClient.invalidateQueries({ queryKey: ['/v1/users'] });

/** Bindings as a person reads them. */
export function rolesText(roles: User['roles']): string {
  return roles.map(({ role, workspace }) => (workspace == null ? role : `${role} in ${workspace}`)).join(', ') || '–';
}

async function setDisabled({ id, disabled }: User): Promise<undefined> {
  await client.patch('/v1/users/{id}', { path: { id }, body: { disabled: !disabled } });
  await refresh();
  return undefined;
}

async function remove({ id }: User): Promise<undefined> {
  await client.delete('/v1/users/{id}', { path: { id } });
  await refresh();
  return undefined;
}

const COLUMNS: readonly ListColumn<User>[] = [
  { heading: 'User', cell: ({ username }) => username },
  { heading: 'Roles', cell: ({ roles }) => rolesText(roles) },
  { heading: 'State', cell: ({ disabled }) => <Status status={disabled ? 'disabled' : 'enabled'} /> },
  { heading: 'Created', cell: ({ created_at: at }) => <Time at={at} /> },
  {
    heading: '',
    cell: (user) => (
      <Permitted to="user_write">
        <Group gap="xs" justify="end" wrap="nowrap">
          <Action variant="default" run={() => setDisabled(user)}>
            {user.disabled ? 'Enable' : 'Disable'}
          </Action>
          <Action
            color="red"
            variant="light"
            run={() => remove(user)}
            question={`${user.username} is deleted with all logins and tokens.`}
          >
            Delete
          </Action>
        </Group>
      </Permitted>
    ),
  },
];

function NewUser() {
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const [role, setRole] = useState<(typeof ROLES)[number]>('viewer');
  const create = useMutation({
    mutationFn: () => client.post('/v1/users', { body: { username, password, roles: [{ role }] } }),
    onSuccess: async () => {
      setUsername('');
      setPassword('');
      await refresh();
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        create.mutate();
      }}
    >
      <Group align="end">
        <TextInput
          label="Name"
          required
          value={username}
          onChange={(event) => setUsername(event.currentTarget.value)}
        />
        <PasswordInput
          label="Password"
          required
          minLength={8}
          autoComplete="new-password"
          value={password}
          onChange={(event) => setPassword(event.currentTarget.value)}
        />
        <Select
          label="Role, everywhere"
          data={ROLES}
          value={role}
          allowDeselect={false}
          onChange={(value) => setRole(value ?? 'viewer')}
        />
        <Button type="submit" loading={create.isPending}>
          Create
        </Button>
      </Group>
      {create.isError ? <Failure error={create.error} /> : null}
    </form>
  );
}

export function UsersPage() {
  return (
    <Stack>
      <Title order={1} size="h3">
        Users
      </Title>
      <Permitted to="user_write">
        <NewUser />
      </Permitted>
      <List
        path="/v1/users"
        filters={{}}
        columns={COLUMNS}
        keyOf={({ id }) => id}
        label="users"
        empty={<NothingFound what="users" filtered={false} />}
      />
    </Stack>
  );
}

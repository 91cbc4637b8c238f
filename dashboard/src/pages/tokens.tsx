import { Alert, Button, Code, Group, Select, Stack, TextInput, Title } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { List, type ListColumn, NothingFound } from '../components/list.tsx';
import { Failure, Time } from '../components/states.tsx';
import { queryClient } from '../queries.ts';
import { client } from '../session.ts';
import { rolesText } from './users.tsx';

const LIFETIMES = { '1 day': 86_400, '30 days': 2_592_000, '90 days': 7_776_000, '1 year': 31_536_000 };
const refresh = () => queryClient.invalidateQueries({ queryKey: ['/v1/tokens'] });

async function end(id: string): Promise<undefined> {
  await client.delete('/v1/tokens/{id}', { path: { id } });
  await refresh();
  return undefined;
}

const COLUMNS: readonly ListColumn<Schemas['ApiToken']>[] = [
  { heading: 'Name', cell: ({ name }) => name },
  { heading: 'Owner', cell: ({ user }) => user },
  { heading: 'Roles', cell: ({ roles }) => rolesText(roles) },
  { heading: 'Expires', cell: ({ expires_at: at }) => (at === null ? 'never' : <Time at={at} />) },
  { heading: 'Last used', cell: ({ last_used_at: at }) => <Time at={at} /> },
  {
    heading: '',
    cell: ({ id, name }) => (
      <Action
        color="red"
        variant="light"
        run={() => end(id)}
        question={`Whatever uses the token ${name} is locked out at once.`}
      >
        End
      </Action>
    ),
  },
];

export function TokensPage() {
  const [name, setName] = useState('');
  const [lifetime, setLifetime] = useState<keyof typeof LIFETIMES>('90 days');
  const create = useMutation({
    mutationFn: () => client.post('/v1/tokens', { body: { name, expires_in: LIFETIMES[lifetime] } }),
    onSuccess: async () => {
      setName('');
      await refresh();
    },
  });
  return (
    <Stack>
      <Title order={1} size="h3">
        API tokens
      </Title>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <Group align="end">
          <TextInput
            label="What it is for"
            required
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <Select
            label="Lives for"
            data={Object.keys(LIFETIMES)}
            value={lifetime}
            allowDeselect={false}
            onChange={(value) => setLifetime((value ?? '90 days') as keyof typeof LIFETIMES)}
          />
          <Button type="submit" loading={create.isPending}>
            Create
          </Button>
        </Group>
      </form>
      {create.isError ? <Failure error={create.error} /> : null}
      {create.isSuccess ? (
        <Alert title="Copy it now: it is not shown again">
          <Code block>{create.data.token}</Code>
        </Alert>
      ) : null}
      <List
        path="/v1/tokens"
        filters={{}}
        columns={COLUMNS}
        keyOf={({ id }) => id}
        label="tokens"
        empty={
          <NothingFound what="tokens" filtered={false}>
            Programs log in with a token instead of a password.
          </NothingFound>
        }
      />
    </Stack>
  );
}

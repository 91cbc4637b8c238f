import { Badge, Button, Group, Table, TextInput, Title } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Action } from '../components/action.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Failure, Loading, Time } from '../components/states.tsx';
import { queryClient, workspaces } from '../queries.ts';
import { client } from '../session.ts';

const refresh = () => queryClient.invalidateQueries({ queryKey: ['/v1/workspaces'] });

function NewWorkspace() {
  const [name, setName] = useState('');
  const create = useMutation({
    mutationFn: () => client.post('/v1/workspaces/create', { body: { name } }),
    onSuccess: async () => {
      setName('');
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
      <Group align="end" mb="sm">
        <TextInput
          label="New workspace"
          required
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        <Button type="submit" loading={create.isPending}>
          Create
        </Button>
      </Group>
      {create.isError ? <Failure error={create.error} /> : null}
    </form>
  );
}

export function WorkspacesPage() {
  const { data, error, refetch } = useQuery(workspaces);
  if (error !== null) return <Failure error={error} onRetry={() => void refetch()} />;
  if (data === undefined) return <Loading />;
  return (
    <>
      <Title order={1} size="h3" mb="sm">
        Workspaces
      </Title>
      <Permitted to="workspace_create">
        <NewWorkspace />
      </Permitted>
      <Table.ScrollContainer minWidth={480}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Name</Table.Th>
              <Table.Th>Path</Table.Th>
              <Table.Th>Last used</Table.Th>
              <Table.Th />
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {data.map(({ name, path, active, last_used: lastUsed }) => (
              <Table.Tr key={name}>
                <Table.Td>
                  {name} {active ? <Badge>active</Badge> : null}
                </Table.Td>
                <Table.Td>{path}</Table.Td>
                <Table.Td>
                  <Time at={lastUsed} />
                </Table.Td>
                <Table.Td>
                  <Group gap="xs" justify="end">
                    {active ? null : (
                      <Permitted to="workspace_update">
                        <Action
                          variant="default"
                          run={async () => {
                            await client.post('/v1/workspaces/{name}/activate', { path: { name } });
                            await refresh();
                            return undefined;
                          }}
                        >
                          Activate
                        </Action>
                      </Permitted>
                    )}
                    <Permitted to="workspace_delete">
                      <Action
                        color="red"
                        variant="light"
                        question={`The workspace ${name} is deleted; its files stay.`}
                        run={async () => {
                          await client.delete('/v1/workspaces/{name}', { path: { name } });
                          await refresh();
                          return undefined;
                        }}
                      >
                        Delete
                      </Action>
                    </Permitted>
                  </Group>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </>
  );
}

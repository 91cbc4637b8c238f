import { Group, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { limitsOf } from '../queries.ts';
import { client } from '../session.ts';
import { then } from './action.tsx';
import { FormDialog } from './form-dialog.tsx';
import type { FieldSchema } from './json-schema.ts';
import { Surface } from './page.tsx';
import { Permitted } from './permitted.tsx';
import { Failure, Heading } from './states.tsx';

const SERVER_LIMITS: FieldSchema = {
  type: 'object',
  properties: {
    servers: { type: 'number', minimum: 0, description: 'Number of servers.' },
    cpus: { type: 'number', minimum: 0, description: 'Total processors of its servers.' },
    memory: { type: 'number', minimum: 0, description: 'Total memory of its servers, in GiB.' },
    monthly_cost: { type: 'number', minimum: 0, description: 'Total monthly cost of its servers.' },
  },
};

/** What a workspace may use, and does. */
export function WorkspaceLimits({ workspace }: { workspace: string }) {
  const { data, error, refetch } = useQuery(limitsOf(workspace));
  const limited = data?.filter((row) => row.workspace === workspace && row.limit !== null && row.used !== null) ?? [];
  return (
    <>
      <Group justify="space-between">
        <Heading>Limits</Heading>
        <Permitted to="workspace_limit">
          <FormDialog
            label="Set limits"
            variant="default"
            about="Existing servers are kept. Empty fields keep their limits. To remove a limit, use the command line."
            schema={SERVER_LIMITS}
            send="Set limits"
            run={(limits) =>
              then(client.patch('/v1/workspaces/{name}', { path: { name: workspace }, body: { limits } }), '/v1/limits')
            }
          />
        </Permitted>
      </Group>
      {error === null ? null : <Failure error={error} onRetry={() => void refetch()} />}
      <Surface label="Limits">
        {limited.length === 0 ? (
          <Text size="sm" c="dimmed">
            No limits.
          </Text>
        ) : (
          <table className="plain-table">
            <thead>
              <tr>
                <th scope="col">Limit</th>
                <th scope="col">Used</th>
                <th scope="col">Allowed</th>
              </tr>
            </thead>
            <tbody>
              {limited.map(({ name, counts, used, limit }) => (
                <tr key={name}>
                  <td title={name}>{counts}</td>
                  <td>{used?.toLocaleString()}</td>
                  <td>{limit?.toLocaleString()}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Surface>
    </>
  );
}

import { Anchor, Group, Table, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { queryClient, stepsOf } from '../queries.ts';
import { client } from '../session.ts';
import { Action } from './action.tsx';
import { Failure, Loading, Status } from './states.tsx';

/** How each step of a workflow stands; a click leads to its log. */
export function StepList({ workflowId }: { workflowId: string }) {
  const { data: steps, error } = useQuery(stepsOf(workflowId));
  if (error !== null) return <Failure error={error} />;
  if (steps === undefined) return <Loading />;
  return (
    <Table.ScrollContainer minWidth={480} mah={400}>
      <Table aria-label="Steps">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Step</Table.Th>
            <Table.Th>Kind</Table.Th>
            <Table.Th>Status</Table.Th>
            <Table.Th>Tries</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {steps.map((step) => (
            <Table.Tr key={step.id}>
              <Table.Td>
                {step.operation_id === null ? (
                  step.id
                ) : (
                  <Anchor component={Link} to={`/operations/${step.operation_id}`} size="sm">
                    {step.id}
                  </Anchor>
                )}
                {step.error === null ? null : (
                  <Text size="xs" c="red">
                    {step.error}
                  </Text>
                )}
              </Table.Td>
              <Table.Td>{step.kind}</Table.Td>
              <Table.Td>
                <Status status={step.status} operation />
              </Table.Td>
              <Table.Td>
                {step.kind === 'approval' && step.status === 'running' ? (
                  <Approval workflowId={workflowId} step={step.id} />
                ) : (
                  step.attempt
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

/** Lets a step that waits for a person go on, or refuses it. */
function Approval({ workflowId, step }: { workflowId: string; step: string }) {
  const decide = (approve: boolean) => async () => {
    await client.post('/v1/workflows/{id}/steps/{step}/approve', { path: { id: workflowId, step }, body: { approve } });
    await queryClient.invalidateQueries({ queryKey: ['/v1/workflows', workflowId] });
    return undefined;
  };
  return (
    <Group gap="xs" wrap="nowrap">
      <Action run={decide(true)}>Approve</Action>
      <Action
        color="red"
        variant="light"
        run={decide(false)}
        question={`${step} fails, and the workflow with it where that is its rule.`}
      >
        Reject
      </Action>
    </Group>
  );
}

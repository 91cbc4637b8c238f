import { Group, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { Schemas } from '../../../../src/sdk/client.ts';
import { stepOf } from '../../queries.ts';
import { client } from '../../session.ts';
import { Action, then } from '../action.tsx';
import { EventLog } from '../event-log.tsx';
import { Facts, To } from '../page.tsx';
import { Permitted } from '../permitted.tsx';
import { Failure, Status, Time } from '../states.tsx';

interface StepProps {
  workflowId: string;
  /** As it is told among all of them: without what it is called with. */
  step: Schemas['WorkflowStep'];
  /** Its place among the nodes of the run. */
  index: number;
}

/** One node, with its log. */
export function StepPanel({ workflowId, step, index, onClose }: StepProps & { onClose: () => void }) {
  const { data: whole, error } = useQuery(stepOf(workflowId, index));
  return (
    <section className="surface step-panel" aria-label={`Step ${step.id}`}>
      <Group justify="space-between" align="start" wrap="nowrap">
        <Group gap="sm" style={{ minWidth: 0 }}>
          <Text fw={600} style={{ overflowWrap: 'anywhere' }}>
            {step.id}
          </Text>
          <Status status={step.status} operation />
        </Group>
        <button type="button" className="plain-button" onClick={onClose} aria-label={`Close ${step.id}`}>
          ✕
        </button>
      </Group>
      {error === null ? null : <Failure error={error} />}
      {step.error === null ? null : <Failure error={step.error} />}
      <Facts
        of={[
          ['Kind', step.kind],
          ['Attempts', step.attempt],
          step.started_at === null ? null : ['Started', <Time key="begun" at={step.started_at} exact />],
          step.finished_at === null ? null : ['Ended', <Time key="ended" at={step.finished_at} exact />],
          step.next_attempt_at === null ? null : ['Next attempt', <Time key="next" at={step.next_attempt_at} exact />],
          step.operation_id === null
            ? null
            : [
                'Operation',
                <To key="operation" to={`/operations/${step.operation_id}`}>
                  View operation
                </To>,
              ],
          step.undo === null ? null : ['Undo', step.undo],
          whole === undefined || whole.with === null
            ? null
            : [
                'With',
                <span key="with" className="mono">
                  {JSON.stringify(whole.with)}
                </span>,
                'wide',
              ],
        ]}
      />
      {step.operation_id === null ? (
        <Text size="sm" c="dimmed">
          This step has not started yet.
        </Text>
      ) : (
        <EventLog operationId={step.operation_id} progress={step.progress ?? 0} status={step.status} />
      )}
    </section>
  );
}

/** Lets a step that waits for a person go on, or refuses it. */
export function Approval({ workflowId, step, index }: StepProps) {
  const { data: whole } = useQuery(stepOf(workflowId, index));
  const decide = (approve: boolean) => () =>
    then(
      client.post('/v1/workflows/{id}/steps/{step}/approve', {
        path: { id: workflowId, step: step.id },
        body: { approve },
      }),
      '/v1/workflows',
      '/v1/operations',
    );
  const message = whole?.with?.message;
  return (
    <section className="surface approval" aria-label={`Approval of ${step.id}`}>
      <div>
        <Text fw={600} size="sm">
          “{step.id}” needs approval
        </Text>
        {typeof message === 'string' ? <Text size="sm">{message}</Text> : null}
      </div>
      <Permitted to="workflow_approve">
        <Group gap="xs">
          <Action run={decide(true)}>Approve</Action>
          <Action
            color="red"
            variant="outline"
            run={decide(false)}
            question={`${step.id} fails. By default the whole workflow then fails, too.`}
          >
            Reject
          </Action>
        </Group>
      </Permitted>
    </section>
  );
}

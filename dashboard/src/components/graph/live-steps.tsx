import { Group, SegmentedControl, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useMemo } from 'react';
import type { Schemas } from '../../../../src/sdk/client.ts';
import { stepsOf } from '../../queries.ts';
import { client } from '../../session.ts';
import { Action, then } from '../action.tsx';
import { EventLog } from '../event-log.tsx';
import { Facts, Surface, To } from '../page.tsx';
import { Permitted } from '../permitted.tsx';
import { Failure, Heading, Loading, Status, Time } from '../states.tsx';
import { edgesTo, graphOfRun } from './model.ts';
import { Picture } from './picture.tsx';

type Step = Schemas['WorkflowStep'];

/** How each step of a workflow stands, as a picture and as a list. The one that is looked at stands in the address. */
export function LiveSteps({ workflowId }: { workflowId: string }) {
  const { data: steps, error, refetch } = useQuery(stepsOf(workflowId));
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  const graph = useMemo(() => graphOfRun(steps ?? []), [steps]);
  if (steps === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  const change = (changed: Record<string, string | undefined>) =>
    void navigate({ to: '.', search: { ...search, ...changed }, replace: true, resetScroll: false });
  const selected = steps.find(({ id }) => id === search.step);
  const approvals = steps.filter(({ kind, status }) => kind === 'approval' && status === 'running');
  return (
    <Stack gap="sm">
      {approvals.map((step) => (
        <Approval key={step.id} workflowId={workflowId} step={step} />
      ))}
      <Group justify="space-between">
        <Heading>Steps</Heading>
        <SegmentedControl
          size="xs"
          aria-label="How the steps are shown"
          value={search.as ?? 'picture'}
          onChange={(as) => change({ as: as === 'picture' ? undefined : as })}
          data={[
            { value: 'picture', label: 'Picture' },
            { value: 'list', label: 'List' },
          ]}
        />
      </Group>
      {search.as === 'list' ? (
        <StepList steps={steps} onSelect={(step) => change({ step })} />
      ) : (
        <Picture graph={graph} selected={selected?.id} onSelect={(step) => change({ step })} />
      )}
      {selected === undefined ? (
        <Text size="xs" c="dimmed">
          Choose a step to see what it did and what it said.
        </Text>
      ) : (
        <StepPanel step={selected} onClose={() => change({ step: undefined })} />
      )}
    </Stack>
  );
}

/** One node, with its log. */
function StepPanel({ step, onClose }: { step: Step; onClose: () => void }) {
  return (
    <section className="surface step-panel" aria-label={`Step ${step.id}`}>
      <Group justify="space-between" align="start">
        <Group gap="sm">
          <Text fw={600}>{step.id}</Text>
          <Status status={step.status} operation />
        </Group>
        <button type="button" className="plain-button" onClick={onClose} aria-label={`Close ${step.id}`}>
          ✕
        </button>
      </Group>
      {step.error === null ? null : <Failure error={step.error} />}
      <Facts
        of={[
          ['Kind', step.kind],
          ['Tries', step.attempt],
          step.started_at === null ? null : ['Begun', <Time key="begun" at={step.started_at} exact />],
          step.finished_at === null ? null : ['Ended', <Time key="ended" at={step.finished_at} exact />],
          step.next_attempt_at === null ? null : ['Next try', <Time key="next" at={step.next_attempt_at} exact />],
          step.operation_id === null
            ? null
            : [
                'Operation',
                <To key="operation" to={`/operations/${step.operation_id}`}>
                  Its own page
                </To>,
              ],
          step.undo === null ? null : ['Undoing', step.undo],
          step.with === null
            ? null
            : [
                'With',
                <span key="with" className="mono">
                  {JSON.stringify(step.with)}
                </span>,
                'wide',
              ],
        ]}
      />
      {step.operation_id === null ? (
        <Text size="sm" c="dimmed">
          It has not begun: there is nothing to tell yet.
        </Text>
      ) : (
        <EventLog operationId={step.operation_id} progress={step.progress ?? 0} status={step.status} />
      )}
    </section>
  );
}

/** The same as the picture, in words. */
function StepList({ steps, onSelect }: { steps: readonly Step[]; onSelect: (id: string) => void }) {
  return (
    <Surface>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <section style={{ maxHeight: '44dvh', overflow: 'auto' }} tabIndex={0} aria-label="Steps">
        <table className="plain-table" aria-label="Steps">
          <thead>
            <tr>
              <th scope="col">Step</th>
              <th scope="col" style={{ width: 112 }}>
                Status
              </th>
              <th scope="col" className="from-sm">
                Kind
              </th>
              <th scope="col" className="from-md" style={{ width: 70 }}>
                Tries
              </th>
              <th scope="col" className="from-md">
                Waits for
              </th>
            </tr>
          </thead>
          <tbody>
            {steps.map((step) => (
              <tr key={step.id}>
                <td>
                  <button type="button" className="link-button" onClick={() => onSelect(step.id)}>
                    {step.id}
                  </button>
                  {step.error === null ? null : (
                    <Text size="xs" c="var(--app-red)">
                      {step.error}
                    </Text>
                  )}
                </td>
                <td>
                  <Status status={step.status} operation />
                </td>
                <td className="from-sm">{step.kind}</td>
                <td className="from-md">{step.attempt}</td>
                <td className="from-md">
                  {edgesTo(step)
                    .map(({ from }) => from)
                    .join(', ') || '–'}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </Surface>
  );
}

/** Lets a step that waits for a person go on, or refuses it. */
function Approval({ workflowId, step }: { workflowId: string; step: Step }) {
  const decide = (approve: boolean) => () =>
    then(
      client.post('/v1/workflows/{id}/steps/{step}/approve', {
        path: { id: workflowId, step: step.id },
        body: { approve },
      }),
      '/v1/workflows',
      '/v1/operations',
    );
  const message = step.with?.message;
  return (
    <section className="surface approval" aria-label={`Approval of ${step.id}`}>
      <div>
        <Text fw={600} size="sm">
          {step.id} waits for somebody to agree
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
            question={`${step.id} fails, and the workflow with it where that is its rule.`}
          >
            Reject
          </Action>
        </Group>
      </Permitted>
    </section>
  );
}

import { Group, SegmentedControl, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useMemo } from 'react';
import { stepsOf } from '../../queries.ts';
import { Failure, Heading, Loading } from '../states.tsx';
import { graphOfRun } from './model.ts';
import { Picture } from './picture.tsx';
import { StepList } from './step-list.tsx';
import { Approval, StepPanel } from './step-panel.tsx';

/** Approvals asked for at once at the top of the page; the others are found in the list. */
const MAX_APPROVALS = 5;

/** How each step of a workflow stands, as a picture and as a list. The one that is looked at stands in the address. */
export function LiveSteps({ workflowId }: { workflowId: string }) {
  const { data: steps, error, refetch } = useQuery(stepsOf(workflowId));
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  const graph = useMemo(() => graphOfRun(steps ?? []), [steps]);
  const filter = useMemo(() => ({ status: search.step_status, find: search.find }), [search.step_status, search.find]);
  if (steps === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  const change = (changed: Record<string, string | undefined>) =>
    void navigate({ to: '.', search: { ...search, ...changed }, replace: true, resetScroll: false });
  const chosen = steps.findIndex(({ id }) => id === search.step);
  const selected = steps[chosen];
  const approvals = steps
    .map((step, index) => ({ step, index }))
    .filter(({ step: { kind, status } }) => kind === 'approval' && status === 'running')
    .slice(0, MAX_APPROVALS);
  return (
    <Stack gap="sm">
      {approvals.map(({ step, index }) => (
        <Approval key={step.id} workflowId={workflowId} step={step} index={index} />
      ))}
      <Group justify="space-between">
        <Heading>Steps</Heading>
        <SegmentedControl
          size="xs"
          aria-label="View of the steps"
          value={search.as ?? 'picture'}
          onChange={(as) => change({ as: as === 'picture' ? undefined : as })}
          data={[
            { value: 'picture', label: 'Graph' },
            { value: 'list', label: 'List' },
          ]}
        />
      </Group>
      {search.as === 'list' ? (
        <StepList
          steps={steps}
          filter={filter}
          onFilter={({ status, find }) => change({ step_status: status, find })}
          onSelect={(step) => change({ step })}
        />
      ) : (
        <Picture graph={graph} selected={selected?.id} onSelect={(step) => change({ step })} />
      )}
      {selected === undefined ? (
        <Text size="xs" c="dimmed">
          Select a step to see its details and log.
        </Text>
      ) : (
        <StepPanel
          key={selected.id}
          workflowId={workflowId}
          step={selected}
          index={chosen}
          onClose={() => change({ step: undefined })}
        />
      )}
    </Stack>
  );
}

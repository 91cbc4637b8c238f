import { NativeSelect, Text, TextInput } from '@mantine/core';
import { useMemo, useRef } from 'react';
import type { Schemas } from '../../../../src/sdk/client.ts';
import { NothingFound } from '../list.tsx';
import { Surface } from '../page.tsx';
import { type ListColumn, Rows } from '../rows.tsx';
import { Status } from '../states.tsx';
import { countsOf, edgesTo } from './model.ts';

type Step = Schemas['WorkflowStep'];

/** What is looked for among the steps. */
interface StepFilter {
  status?: string | undefined;
  /** A part of the id. */
  find?: string | undefined;
}

interface StepListProps {
  steps: readonly Step[];
  filter: StepFilter;
  onFilter: (filter: StepFilter) => void;
  onSelect: (id: string) => void;
}

/** The same as the picture, in words: every node, to be searched and sifted. */
export function StepList({ steps, filter, onFilter, onSelect }: StepListProps) {
  const counts = useMemo(() => countsOf({ nodes: steps }), [steps]);
  const found = useMemo(() => sift(steps, filter), [steps, filter]);
  const select = useRef(onSelect);
  select.current = onSelect;
  const columns = useMemo(() => columnsWith((id) => select.current(id)), []);
  return (
    <>
      <search className="filters">
        <NativeSelect
          size="xs"
          aria-label="Steps by status"
          value={filter.status ?? ''}
          onChange={(event) => onFilter({ ...filter, status: event.currentTarget.value || undefined })}
          data={[
            { value: '', label: `all ${steps.length.toLocaleString('en')}` },
            ...counts.map(([status, count]) => ({
              value: status,
              label: `${count.toLocaleString('en')} ${status.replaceAll('_', ' ')}`,
            })),
          ]}
        />
        <TextInput
          size="xs"
          aria-label="Steps by name"
          placeholder="Part of a name"
          value={filter.find ?? ''}
          onChange={(event) => onFilter({ ...filter, find: event.currentTarget.value || undefined })}
        />
      </search>
      <Surface>
        {found.length === 0 ? (
          <NothingFound what="steps" filtered />
        ) : (
          <>
            <Text size="xs" c="dimmed" px={12} pt={10} aria-live="polite">
              {found.length.toLocaleString('en')} {found.length === 1 ? 'step' : 'steps'}
            </Text>
            <Rows
              columns={columns}
              keyOf={({ id }) => id}
              label="Steps"
              count={found.length}
              rowAt={(index) => found[index]}
              total={found.length}
              embedded
            />
          </>
        )}
      </Surface>
    </>
  );
}

function columnsWith(onSelect: (id: string) => void): readonly ListColumn<Step>[] {
  return [
    { heading: 'Step', cell: (step) => <Name of={step} onSelect={onSelect} /> },
    { heading: 'Status', width: '112px', cell: ({ status }) => <Status status={status} operation /> },
    { heading: 'Kind', from: 'sm', cell: ({ kind }) => kind },
    { heading: 'Attempts', width: '70px', from: 'md', cell: ({ attempt }) => attempt },
    { heading: 'Waits for', from: 'md', cell: waitsFor },
  ];
}

function sift(steps: readonly Step[], { status, find }: StepFilter): readonly Step[] {
  const text = find?.toLowerCase();
  return steps.filter(
    (step) =>
      (status === undefined || step.status === status) && (text === undefined || step.id.toLowerCase().includes(text)),
  );
}

function Name({ of: { id, error }, onSelect }: { of: Step; onSelect: (id: string) => void }) {
  return (
    <>
      <button type="button" className="link-button" onClick={() => onSelect(id)} title={id}>
        {id}
      </button>
      {error === null ? null : (
        <Text span size="xs" c="var(--app-red)" ml={8} title={error}>
          {error}
        </Text>
      )}
    </>
  );
}

function waitsFor(step: Step): string {
  return (
    edgesTo(step)
      .map(({ from }) => from)
      .join(', ') || '–'
  );
}

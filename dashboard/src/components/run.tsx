import { useId } from 'react';
import { Action, then } from './action.tsx';
import type { ListColumn } from './list.tsx';
import { type Fact, To } from './page.tsx';
import { Permitted } from './permitted.tsx';
import { Status, Time } from './states.tsx';

/** What operations and workflows have in common. */
interface Run {
  id: string;
  status: string;
  workspace: string;
  progress: number;
  created_by: string;
  created_at: string;
  updated_at: string;
  parent_id: string | null;
  cancel_requested_at: string | null;
}

export const RUN_STATUSES = ['pending', 'running', 'completed', 'failed', 'cancelled'] as const;
const FINAL: readonly string[] = ['completed', 'failed', 'cancelled'];

export function hasEnded({ status }: Pick<Run, 'status'>): boolean {
  return FINAL.includes(status);
}

/** The columns of both lists, behind the one that names the thing. */
export const RUN_COLUMNS: readonly ListColumn<Run>[] = [
  { heading: 'Status', width: '112px', cell: ({ status }) => <Status status={status} operation /> },
  { heading: 'Progress', width: '120px', from: 'md', cell: (run) => <Bar of={run} /> },
  { heading: 'Workspace', from: 'lg', cell: ({ workspace }) => workspace },
  { heading: 'Started by', from: 'md', cell: ({ created_by: by }) => by },
  {
    heading: 'Created',
    width: '124px',
    from: 'sm',
    sort: 'created_at',
    cell: ({ created_at: at }) => <Time at={at} />,
  },
];

function Bar({ of: { progress, status } }: { of: Run }) {
  const id = useId();
  return hasEnded({ status }) && status !== 'completed' ? (
    `${progress} %`
  ) : (
    <meter id={id} min={0} max={100} value={progress} aria-label="Progress" className="bar" />
  );
}

/** What is known of both. */
export function runFacts(run: Run): Fact[] {
  return [
    [
      'Workspace',
      <To key="workspace" to={`/workspaces/${run.workspace}`}>
        {run.workspace}
      </To>,
    ],
    ['Started by', run.created_by],
    ['Created', <Time key="created" at={run.created_at} exact />],
    ['Last change', <Time key="changed" at={run.updated_at} exact />],
    run.cancel_requested_at === null
      ? null
      : ['Cancel requested', <Time key="stop" at={run.cancel_requested_at} exact />],
  ];
}

/** Stops it, for those who may. */
export function Cancel({ run, permission, send, question }: CancelProps) {
  return hasEnded(run) ? null : (
    <Permitted to={permission}>
      <Action
        color="red"
        variant="outline"
        disabled={run.cancel_requested_at !== null}
        run={() => then(send(), '/v1/operations', '/v1/workflows')}
        question={question}
      >
        {run.cancel_requested_at === null ? 'Cancel' : 'Cancelling'}
      </Action>
    </Permitted>
  );
}
interface CancelProps {
  run: Run;
  permission: 'operation_cancel' | 'workflow_cancel';
  send: () => Promise<unknown>;
  question: string;
}

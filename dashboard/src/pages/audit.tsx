import type { Schemas } from '../../../src/sdk/client.ts';
import type { ListColumn } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { To } from '../components/page.tsx';
import { Status, Time } from '../components/states.tsx';

const COLUMNS: readonly ListColumn<Schemas['AuditRow']>[] = [
  { heading: 'Time', width: '108px', cell: ({ created_at: at }) => <Time at={at} /> },
  {
    heading: 'User',
    width: 'clamp(80px, 14vw, 200px)',
    cell: ({ principal }) => <span title={principal ?? undefined}>{principal ?? '–'}</span>,
  },
  {
    heading: 'Action',
    cell: ({ action, operation_id: operation }) =>
      operation === null ? action : <To to={`/operations/${operation}`}>{action}</To>,
  },
  {
    heading: 'Resource',
    width: '230px',
    from: 'md',
    cell: ({ resource }) => <span title={resource ?? undefined}>{resource ?? '–'}</span>,
  },
  { heading: 'Workspace', from: 'lg', cell: ({ workspace }) => workspace ?? '–' },
  { heading: 'Outcome', width: '110px', from: 'sm', cell: ({ outcome }) => <Status status={outcome} /> },
  {
    heading: 'Address',
    width: '130px',
    from: 'lg',
    cell: ({ address }) => <span className="mono">{address ?? '–'}</span>,
  },
];

export function AuditPage() {
  return (
    <ListPage
      title="Audit log"
      about="Who did what, and what was refused. Changes to the log are detected."
      filters={[{ name: 'principal' }, { name: 'action' }, { name: 'workspace' }, { name: 'outcome' }]}
      path="/v1/audit"
      columns={COLUMNS}
      keyOf={({ id }) => id}
      label="entries"
    />
  );
}

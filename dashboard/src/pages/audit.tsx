import { Title } from '@mantine/core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Filters, List, type ListColumn, NothingFound } from '../components/list.tsx';
import { Status, Time } from '../components/states.tsx';

const COLUMNS: readonly ListColumn<Schemas['AuditRow']>[] = [
  { heading: 'Time', cell: ({ created_at: at }) => <Time at={at} /> },
  { heading: 'Who', cell: ({ principal }) => principal },
  { heading: 'What', cell: ({ action }) => action },
  { heading: 'Workspace', cell: ({ workspace }) => workspace ?? '–' },
  { heading: 'On', cell: ({ resource }) => resource ?? '–' },
  { heading: 'Outcome', cell: ({ outcome }) => <Status status={outcome} /> },
  { heading: 'From', cell: ({ address }) => address ?? '–' },
];
const FILTERS = ['principal', 'action', 'workspace', 'outcome'];

export function AuditPage() {
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  return (
    <>
      <Title order={1} size="h3" mb="sm">
        Audit log
      </Title>
      <Filters names={FILTERS} values={search} onChange={(next) => void navigate({ to: '/audit', search: next })} />
      <List
        path="/v1/audit"
        filters={search}
        columns={COLUMNS}
        keyOf={({ id }) => id}
        label="entries"
        empty={<NothingFound what="entries" filtered={Object.keys(search).length > 0} />}
      />
    </>
  );
}

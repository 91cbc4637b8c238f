import { useQuery } from '@tanstack/react-query';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action, then } from '../components/action.tsx';
import { List, type ListColumn, NothingFound } from '../components/list.tsx';
import { Surface } from '../components/page.tsx';
import { Time } from '../components/states.tsx';
import { me } from '../queries.ts';
import { client } from '../session.ts';

type Session = Schemas['Session'];
const LIST = '/v1/auth/sessions';

const COLUMNS: readonly ListColumn<Session>[] = [
  { heading: 'Address', cell: ({ address }) => address ?? '–' },
  { heading: 'Client', from: 'md', cell: ({ user_agent: agent }) => <span title={agent ?? ''}>{agent ?? '–'}</span> },
  { heading: 'Login', width: '116px', from: 'sm', cell: ({ created_at: at }) => <Time at={at} /> },
  { heading: 'Last used', width: '116px', cell: ({ last_used_at: at }) => <Time at={at} /> },
  { heading: '', width: '80px', cell: (session) => <End session={session} /> },
];

function End({ session: { id, address } }: { session: Session }) {
  const { data: principal } = useQuery(me);
  if (principal?.session_id === id) return 'this session';
  return (
    <Action
      color="red"
      variant="outline"
      run={() => then(client.delete('/v1/auth/sessions/{id}', { path: { id } }), LIST)}
      question={`This signs out the session from ${address ?? 'an unknown address'}.`}
    >
      End
    </Action>
  );
}

/** The logins of whoever is signed in that have not ended. */
export function Sessions() {
  return (
    <Surface label="Sessions">
      <List
        path={LIST}
        query={{}}
        columns={COLUMNS}
        keyOf={({ id }) => id}
        label="sessions"
        empty={<NothingFound what="sessions" filtered={false} />}
        embedded
      />
    </Surface>
  );
}

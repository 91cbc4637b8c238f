import type { Schemas } from '../../../src/sdk/client.ts';
import { Action, then } from '../components/action.tsx';
import type { ListColumn } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Time } from '../components/states.tsx';
import { client } from '../session.ts';

const COLUMNS: readonly ListColumn<Schemas['Orphan']>[] = [
  { heading: 'Hostname', sort: 'hostname', cell: ({ hostname }) => hostname },
  { heading: 'Provider', from: 'sm', cell: ({ provider }) => provider },
  { heading: 'Provider id', from: 'md', cell: ({ provider_id: id }) => <span className="mono">{id}</span> },
  { heading: 'Plan', from: 'md', cell: ({ plan }) => plan },
  { heading: 'Zone', from: 'lg', cell: ({ zone }) => zone },
  {
    heading: 'Per month',
    width: '110px',
    from: 'sm',
    cell: ({ price }) => (price === null ? '–' : `${price.monthly.toFixed(2)} ${price.currency ?? ''}`),
  },
  { heading: 'First seen', width: '120px', sort: 'first_seen', cell: ({ first_seen: at }) => <Time at={at} /> },
  {
    heading: '',
    width: '200px',
    cell: ({ id, hostname, provider, protect }) => (
      <>
        <Permitted to={protect ? 'protection_remove' : 'server_update'}>
          <Action
            variant="default"
            run={() =>
              then(client.patch('/v1/orphans/{id}', { path: { id }, body: { protect: !protect } }), '/v1/orphans')
            }
          >
            {protect ? 'Unprotect' : 'Protect'}
          </Action>
        </Permitted>
        <Permitted to="server_delete">
          <Action
            disabled={protect}
            color="red"
            variant="outline"
            question={`This deletes ${hostname} and its disks at ${provider}, after checking the server once more.`}
            run={() => client.delete('/v1/orphans/{id}', { path: { id } })}
          >
            Delete
          </Action>
        </Permitted>
      </>
    ),
  },
];

/** What stands at a provider with our labels, and no server here stands for it. */
export function OrphansPage() {
  return (
    <ListPage
      title="Orphans"
      about="Servers at a provider that carry this installation's label but are not recorded here. They still cost money."
      filters={[{ name: 'provider' }, { name: 'workspace' }, { name: 'zone' }]}
      path="/v1/orphans"
      columns={COLUMNS}
      keyOf={({ id }) => id}
      label="orphans"
      empty="All servers at the providers are recorded here."
    />
  );
}

import { Group, Text } from '@mantine/core';
import { useState } from 'react';
import type { Server } from '../../../src/sdk/client.ts';
import { Action } from '../components/action.tsx';
import { Surface } from '../components/page.tsx';
import { Permitted } from '../components/permitted.tsx';
import { Heading, Time } from '../components/states.tsx';
import { client } from '../session.ts';

/** Providers whose servers are not entered by SSH. */
export const WITHOUT_SSH: readonly string[] = ['simulated', 'docker'];

/** For those who know that the machine was made anew: without it the new host key would be refused for ever. */
export function HostKeyOf({ server: { id, hostname } }: { server: Server }) {
  const [forgotten, setForgotten] = useState(false);
  const forget = async () => {
    await client.delete('/v1/servers/{id}/host-key', { path: { id } });
    setForgotten(true);
    return undefined;
  };
  return (
    <>
      <Group justify="space-between">
        <Heading>Host key</Heading>
        <Permitted to="server_update">
          <Action
            variant="default"
            disabled={forgotten}
            run={forget}
            question={`Do this only if you reinstalled ${hostname}. The next host key at its address will be trusted from then on.`}
          >
            Forget host key
          </Action>
        </Permitted>
      </Group>
      <Surface label="Host key">
        <Text size="sm" c="dimmed" p="md" role="status">
          {forgotten
            ? 'Host key forgotten. The next one that the machine presents will be recorded.'
            : 'The host key of the first connection is recorded. Connections are refused if the machine presents another one.'}
        </Text>
      </Surface>
    </>
  );
}

/** What its provider says otherwise than it was left, and what can be done about it. */
export function DriftOf({ server }: { server: Server }) {
  const { id, hostname, workspace, status, drift, observed_at: observed } = server;
  const path = { id };
  return (
    <>
      <Group justify="space-between">
        <Heading>Drift</Heading>
        <Permitted to="server_update">
          <Group gap="xs">
            <Action
              variant="default"
              run={() => client.post('/v1/servers/refresh', { body: { workspace, servers: [id] } })}
            >
              Check now
            </Action>
            {status === 'missing' ? (
              <Action
                question={`The provider no longer has ${hostname}. It will be recreated from scratch, without its data and with another address.`}
                run={() => client.post('/v1/servers/{id}/repair', { path, body: { recreate: true } })}
              >
                Recreate
              </Action>
            ) : null}
            {status !== 'missing' && drift.length > 0 ? (
              <Action
                question={`Restore the recorded state of ${hostname}: ${drift.map(({ field }) => field).join(', ')}. It may be restarted.`}
                run={() => client.post('/v1/servers/{id}/repair', { path, body: {} })}
              >
                Repair
              </Action>
            ) : null}
          </Group>
        </Permitted>
      </Group>
      <Surface label="Drift">
        {drift.length === 0 ? (
          <Text size="sm" c="dimmed" p="md">
            {observed === null ? (
              'This server has not been compared with its provider yet.'
            ) : (
              <>
                No drift. Checked <Time at={observed} />.
              </>
            )}
          </Text>
        ) : (
          <table className="plain-table">
            <thead>
              <tr>
                <th scope="col">Field</th>
                <th scope="col">Recorded</th>
                <th scope="col">At the provider</th>
                <th scope="col" className="from-sm">
                  Since
                </th>
              </tr>
            </thead>
            <tbody>
              {drift.map(({ field, expected, actual, since }) => (
                <tr key={field}>
                  <td>{field.replaceAll('_', ' ')}</td>
                  <td>{valueText(expected)}</td>
                  <td>{valueText(actual)}</td>
                  <td className="from-sm">
                    <Time at={since} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Surface>
    </>
  );
}

function valueText(value: string | readonly string[] | null): string {
  return typeof value === 'string' ? value : (value?.join(', ') ?? '–');
}

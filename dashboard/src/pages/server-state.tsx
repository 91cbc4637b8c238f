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
            question={`Do it only where ${hostname} was made anew and you know why: whatever answers at its address next is trusted from then on.`}
          >
            Forget the host key
          </Action>
        </Permitted>
      </Group>
      <Surface label="Host key">
        <Text size="sm" c="dimmed" p="md" role="status">
          {forgotten
            ? 'It is forgotten. The one that the machine shows next is kept.'
            : 'The host key that it showed first is kept; a machine that shows another one is not entered.'}
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
              Compare now
            </Action>
            {status === 'missing' ? (
              <Action
                question={`${hostname} is gone. It is made anew: empty, with another address.`}
                run={() => client.post('/v1/servers/{id}/repair', { path, body: { recreate: true } })}
              >
                Repair: make it anew
              </Action>
            ) : null}
            {status !== 'missing' && drift.length > 0 ? (
              <Action
                question={`${hostname} is made again as it was left: ${drift.map(({ field }) => field).join(', ')}.`}
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
              'It has not been compared with its provider yet.'
            ) : (
              <>
                It stands as it was left; compared <Time at={observed} />.
              </>
            )}
          </Text>
        ) : (
          <table className="plain-table">
            <thead>
              <tr>
                <th scope="col">Field</th>
                <th scope="col">As it was left</th>
                <th scope="col">At its provider</th>
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

import { Badge, Group } from '@mantine/core';
import type { ReactNode } from 'react';
import type { Operation } from '../../../src/sdk/client.ts';
import { Action, then } from '../components/action.tsx';
import { FormDialog } from '../components/form-dialog.tsx';
import type { FieldSchema } from '../components/json-schema.ts';
import { Permitted } from '../components/permitted.tsx';
import { Time } from '../components/states.tsx';

interface Guarded {
  id: string;
  name: string;
  protect: boolean;
  expires_at: string | null;
}

interface GuardChange {
  protect?: boolean;
  ttl?: string;
  expires_at?: null;
}

const EXPIRY: FieldSchema = {
  type: 'object',
  required: ['expires_in'],
  properties: {
    expires_in: {
      type: 'string',
      pattern: '^[1-9][0-9]{0,8}[smhdw]$',
      description: 'Time from now, such as 30m, 8h or 14d.',
    },
  },
};

/** How something is guarded, for its facts. */
export function guardFact({ protect, expires_at: expiry }: Guarded): [string, ReactNode] | null {
  if (!protect && expiry === null) return null;
  return [
    'Protection',
    <Group key="guards" gap="xs">
      {protect ? <Badge variant="outline">Protected</Badge> : null}
      {expiry === null ? null : (
        <span>
          Expires <Time at={expiry} exact />
        </span>
      )}
    </Group>,
  ];
}

/** Protecting something from deletion, and when it expires. */
export function GuardActions({
  thing: { name, protect, expires_at: expiry },
  update,
  query,
  patch,
}: {
  thing: Guarded;
  /** The permission to change it. */
  update: 'server_update' | 'taskserv_update';
  /** What shows it. */
  query: string;
  patch: (body: GuardChange) => Promise<Operation>;
}) {
  const send = (body: GuardChange) => then(patch(body), query);
  return (
    <>
      {protect ? (
        <Permitted to="protection_remove">
          <Action variant="default" question={`${name} can then be deleted.`} run={() => send({ protect: false })}>
            Remove protection
          </Action>
        </Permitted>
      ) : (
        <Permitted to={update}>
          <Action variant="default" run={() => send({ protect: true })}>
            Protect
          </Action>
        </Permitted>
      )}
      <Permitted to={update}>
        <FormDialog
          label="Expiry"
          title={`Set the expiry of ${name}`}
          about={`${name} is deleted automatically at that time. Events and webhooks announce the deletion in advance.`}
          schema={EXPIRY}
          send="Set expiry"
          variant="default"
          run={(values) => send({ ttl: String(values.expires_in) })}
        />
        {expiry === null ? null : (
          <Action variant="default" run={() => send({ expires_at: null })}>
            Remove expiry
          </Action>
        )}
      </Permitted>
    </>
  );
}

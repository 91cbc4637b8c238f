import { Button, Code, CopyButton, Stack, Text } from '@mantine/core';
import type { Schemas } from '../../../src/sdk/client.ts';
import { Action, then } from '../components/action.tsx';
import { FormDialog } from '../components/form-dialog.tsx';
import type { FieldSchema } from '../components/json-schema.ts';
import type { ListColumn } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { Time } from '../components/states.tsx';
import { client } from '../session.ts';
import { rolesText } from './users.tsx';

const LIFETIMES: Record<string, number> = {
  '1 day': 86_400,
  '30 days': 2_592_000,
  '90 days': 7_776_000,
  '1 year': 31_536_000,
};
const DEFAULT_LIFETIME = '90 days';
const NEW_TOKEN: FieldSchema = {
  type: 'object',
  required: ['name'],
  properties: {
    name: { type: 'string', maxLength: 100, description: 'What the token is for.' },
    expires_in: { type: 'string', enum: Object.keys(LIFETIMES), default: DEFAULT_LIFETIME },
  },
};

const COLUMNS: readonly ListColumn<Schemas['ApiToken']>[] = [
  { heading: 'Name', cell: ({ name }) => name },
  { heading: 'Owner', from: 'sm', cell: ({ user }) => user },
  { heading: 'Roles', from: 'md', cell: ({ roles }) => rolesText(roles) },
  { heading: 'Expires', width: '116px', cell: ({ expires_at: at }) => (at === null ? 'never' : <Time at={at} />) },
  { heading: 'Last used', width: '116px', from: 'sm', cell: ({ last_used_at: at }) => <Time at={at} /> },
  {
    heading: '',
    width: '80px',
    cell: ({ id, name }) => (
      <Action
        color="red"
        variant="outline"
        run={() => then(client.delete('/v1/tokens/{id}', { path: { id } }), '/v1/tokens')}
        question={`Programs that use the token “${name}” will be refused.`}
      >
        Revoke
      </Action>
    ),
  },
];

async function create({ name, expires_in: lifetime }: Record<string, unknown>) {
  const seconds = LIFETIMES[String(lifetime ?? DEFAULT_LIFETIME)];
  const made = await client.post('/v1/tokens', { body: { name: String(name), expires_in: seconds } });
  await then(Promise.resolve(), '/v1/tokens');
  return made;
}

export function TokensPage() {
  return (
    <ListPage
      title="API tokens"
      about="Tokens for programs. A token has the permissions of its owner."
      filters={[{ name: 'name' }, { name: 'user' }]}
      path="/v1/tokens"
      columns={COLUMNS}
      keyOf={({ id }) => id}
      label="tokens"
      empty="Create a token for a program that uses the API."
      actions={
        <FormDialog
          label="New token"
          schema={NEW_TOKEN}
          send="Create"
          run={create}
          answer={({ token }) => (
            <Stack gap="xs">
              <Text size="sm">Copy the token now. It is not shown again.</Text>
              <Code block>{token}</Code>
              <CopyButton value={token}>
                {({ copied, copy }) => (
                  <Button size="xs" variant="default" onClick={copy}>
                    {copied ? 'Copied' : 'Copy'}
                  </Button>
                )}
              </CopyButton>
            </Stack>
          )}
        />
      }
    />
  );
}

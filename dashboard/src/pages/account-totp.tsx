import { Alert, Code, Group, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { FormDialog } from '../components/form-dialog.tsx';
import { CODE, proofOf, proofSchema } from '../components/proof.ts';
import { Failure, Loading } from '../components/states.tsx';
import { me, queryClient, totpState } from '../queries.ts';
import { client } from '../session.ts';

const refresh = () =>
  Promise.all([totpState, me].map(({ queryKey }) => queryClient.invalidateQueries({ queryKey: [...queryKey] })));

/** The authenticator app of whoever is signed in. */
export function SecondFactor() {
  const { data: state, error, refetch } = useQuery(totpState);
  const [secret, setSecret] = useState<{ secret: string; otpauth_url: string } | null>(null);
  if (state === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  const proof = proofSchema(state.enabled);
  return (
    <Stack gap="sm" className="surface account-form">
      {state.required ? (
        <Alert color="yellow" variant="outline" title="Administrators need a second factor">
          Your roles have no effect until you have set one up.
        </Alert>
      ) : null}
      <Text size="sm">
        {state.enabled
          ? `Signing in requires a code from your app. Recovery codes left: ${state.recovery_codes}.`
          : 'Signing in requires only the password. With an authenticator app, it also requires a code.'}
      </Text>
      {secret === null ? null : (
        <Stack gap="xs">
          <Text size="sm">Enter this secret in the app. It is not shown again.</Text>
          <Code block>{secret.secret}</Code>
          <Code block>{secret.otpauth_url}</Code>
        </Stack>
      )}
      <Group gap="xs">
        {secret === null ? null : (
          <FormDialog
            label="Confirm with a code"
            schema={{ type: 'object', required: ['code'], properties: { code: CODE } }}
            send="Confirm"
            run={async ({ code }) => {
              const confirmed = await client.post('/v1/auth/totp/confirm', { body: { code: String(code) } });
              await refresh();
              return confirmed;
            }}
            answer={({ recovery_codes: codes }) => (
              <Stack gap="xs">
                <Text size="sm">
                  Each recovery code works for one login without the app. Store them in another place than the app. They
                  are not shown again.
                </Text>
                <Code block>{codes.join('\n')}</Code>
              </Stack>
            )}
          />
        )}
        <FormDialog
          label={state.enabled ? 'Change app' : 'Set up app'}
          variant={secret === null && !state.enabled ? 'filled' : 'default'}
          schema={proof}
          send="Show secret"
          run={async (values) => setSecret(await client.post('/v1/auth/totp', { body: proofOf(values) }))}
        />
        {state.enabled ? (
          <FormDialog
            label="Remove second factor"
            variant="default"
            schema={proof}
            send="Remove second factor"
            run={async (values) => {
              await client.post('/v1/auth/totp/remove', { body: proofOf(values) });
              await refresh();
            }}
          />
        ) : null}
      </Group>
    </Stack>
  );
}

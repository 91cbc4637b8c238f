import changeBody from 'virtual:body/v1/auth/password';
import { Button, Group, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { problemsOf } from '../components/json-schema.ts';
import { Facts, PageHead, Tags } from '../components/page.tsx';
import { Failure, Heading, Loading } from '../components/states.tsx';
import { me, queryClient, totpState } from '../queries.ts';
import { client, forgetTokens } from '../session.ts';
import { Sessions } from './account-sessions.tsx';
import { SecondFactor } from './account-totp.tsx';
import { rolesText } from './users.tsx';

/** Who is signed in, what they may, and what lets them in. */
export function AccountPage() {
  const { data: principal, error, refetch } = useQuery(me);
  if (principal === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  return (
    <Stack gap="md">
      <PageHead title="Your account" />
      <Facts
        of={[
          ['User', principal.username],
          ['Roles', rolesText(principal.roles)],
          ['Permissions (in at least one workspace)', <Tags key="may" of={principal.permissions} />, 'wide'],
        ]}
      />
      <Heading>Password</Heading>
      <PasswordForm username={principal.username} />
      <Heading>Second factor</Heading>
      <SecondFactor />
      <Heading>Sessions</Heading>
      <Sessions />
    </Stack>
  );
}

function PasswordForm({ username }: { username: string }) {
  const [current, setCurrent] = useState('');
  const [next, setNext] = useState('');
  const [again, setAgain] = useState('');
  const [code, setCode] = useState('');
  const { data: factor } = useQuery(totpState);
  const navigate = useNavigate();
  const asked = factor?.enabled === true;
  const body = { current_password: current, new_password: next, ...(asked ? { totp: code } : {}) };
  const change = useMutation({
    mutationFn: () => client.post('/v1/auth/password', { body }),
    onSuccess: async () => {
      // Every token has ended with the old password, this tab's too.
      await forgetTokens();
      queryClient.clear();
      await navigate({ to: '/login', search: { user: username, changed: true } });
    },
  });
  const problems = problemsOf(changeBody, body);
  const differs = again !== '' && again !== next;
  const complete = current !== '' && next !== '' && again === next && Object.keys(problems).length === 0;
  return (
    <form
      className="surface account-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (complete) change.mutate();
      }}
    >
      <Stack gap="sm">
        <Text size="sm">
          This ends all your logins and API tokens. Afterwards, sign in again and create new tokens for your programs.
        </Text>
        {/* For password managers: whose password it is. */}
        <input type="text" name="username" autoComplete="username" value={username} readOnly hidden />
        <PasswordInput
          label="Current password"
          autoComplete="current-password"
          required
          value={current}
          onChange={(event) => setCurrent(event.currentTarget.value)}
        />
        <PasswordInput
          label="New password"
          autoComplete="new-password"
          required
          value={next}
          error={next === '' ? undefined : problems.new_password}
          onChange={(event) => setNext(event.currentTarget.value)}
        />
        <PasswordInput
          label="New password again"
          autoComplete="new-password"
          required
          value={again}
          error={differs ? 'The two passwords differ.' : undefined}
          onChange={(event) => setAgain(event.currentTarget.value)}
        />
        {asked ? (
          <TextInput
            label="Code"
            description="Code from your app, or a recovery code."
            autoComplete="one-time-code"
            required
            value={code}
            onChange={(event) => setCode(event.currentTarget.value)}
          />
        ) : null}
        {change.isError ? <Failure error={change.error} /> : null}
        <Group>
          <Button type="submit" disabled={!complete} loading={change.isPending}>
            Change password
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

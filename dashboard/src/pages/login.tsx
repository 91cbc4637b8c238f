import { Alert, Button, Center, Paper, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { ApiError } from '../../../src/sdk/client.ts';
import { SignInProviders } from '../components/sign-in-providers.tsx';
import { Failure } from '../components/states.tsx';
import { client } from '../session.ts';

/** Seconds. The page renews them by itself. */
const ACCESS_SECONDS = 900;

export function LoginPage() {
  const [password, setPassword] = useState('');
  const [code, setCode] = useState<string | null>(null);
  const navigate = useNavigate();
  const { from, user = 'admin', changed } = useSearch({ from: '/login' });
  const [username, setUsername] = useState(user);
  const login = useMutation({
    mutationFn: () => client.login(username, password, { totp: code ?? undefined, expiresIn: ACCESS_SECONDS }),
    onError: (error) => {
      if (asksForCode(error)) setCode('');
    },
    onSuccess: () => goOn(),
  });
  // Only back into this dashboard: what stands in an address may come from anybody.
  const returnTo = from?.startsWith('/') && !/^\/[/\\]/.test(from) ? from : '/';
  const goOn = () => navigate({ href: returnTo });
  return (
    <Center mih="100vh" p="md">
      <Paper withBorder p="lg" w={360}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            login.mutate();
          }}
        >
          <Stack>
            <Title order={1} size="h3">
              Provisioning
            </Title>
            {changed && !login.isError ? (
              <Alert color="green" variant="outline" className="surface" role="status" title="Password changed">
                Sign in with your new password.
              </Alert>
            ) : null}
            <SignInProviders returnTo={returnTo} accessSeconds={ACCESS_SECONDS} onSignedIn={goOn} />
            <TextInput
              label="User"
              autoComplete="username"
              value={username}
              onChange={(event) => setUsername(event.currentTarget.value)}
              required
            />
            <PasswordInput
              label="Password"
              autoComplete="current-password"
              value={password}
              onChange={(event) => setPassword(event.currentTarget.value)}
              required
              autoFocus
            />
            {code === null ? null : (
              <TextInput
                label="Code"
                description="Code from your app, or a recovery code."
                autoComplete="one-time-code"
                value={code}
                onChange={(event) => setCode(event.currentTarget.value)}
                required
                autoFocus
              />
            )}
            {login.isError && !asksForCode(login.error) ? <Failure error={login.error} /> : null}
            <Button type="submit" loading={login.isPending}>
              Sign in
            </Button>
            <Text size="xs" c="dimmed">
              The server created the user “admin” at its first start and showed the password once.
            </Text>
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}

function asksForCode(error: unknown): boolean {
  return error instanceof ApiError && error.code === 'TOTP_REQUIRED';
}

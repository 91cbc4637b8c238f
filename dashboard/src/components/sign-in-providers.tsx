import { Alert, Button, Divider, Stack } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useEffect } from 'react';
import { client } from '../session.ts';
import { Failure } from './states.tsx';

const FAILURES: Record<string, string> = {
  expired: 'It took too long, was used before or was begun somewhere else. Begin it again.',
  refused: 'The identity provider, or the server, did not accept it. An administrator finds why in the audit log.',
  unavailable:
    'The identity provider does not answer, or is set up wrong. An administrator finds why in the audit log.',
};

/** What the browser brought back from an identity provider, once: nothing of it stays in the address or the history. */
function takeFragment(): URLSearchParams {
  const { hash, pathname, search } = window.location;
  if (!hash.startsWith('#sso')) return new URLSearchParams();
  window.history.replaceState(window.history.state, '', `${pathname}${search}`);
  return new URLSearchParams(hash.slice(1));
}

// When the page is loaded: the address has changed by the time that a component is drawn twice.
const brought = takeFragment();

/** A way in for each identity provider, and the end of a sign-in that has come back from one. */
export function SignInProviders({
  returnTo,
  accessSeconds,
  onSignedIn,
}: {
  returnTo: string;
  accessSeconds: number;
  onSignedIn: () => void;
}) {
  const offered = useQuery({ queryKey: ['sign-in'], queryFn: ({ signal }) => client.get('/v1/auth/sso', { signal }) });
  const trade = useMutation({
    mutationFn: (ticket: string) => client.signIn(ticket, { expiresIn: accessSeconds }),
    onSuccess: onSignedIn,
  });
  const { mutate } = trade;
  useEffect(() => {
    const ticket = brought.get('sso');
    brought.delete('sso');
    if (ticket !== null) mutate(ticket);
  }, [mutate]);
  const failure = brought.get('sso_error');
  const providers = offered.data ?? [];
  if (providers.length === 0 && failure === null && !trade.isError) return null;
  return (
    <Stack>
      {failure === null || trade.isPending ? null : (
        <Alert color="red" variant="outline" className="surface" role="alert" title="The sign-in came to nothing">
          {(Object.hasOwn(FAILURES, failure) && FAILURES[failure]) || 'Begin it again.'}
        </Alert>
      )}
      {trade.isError ? <Failure error={trade.error} /> : null}
      {providers.map(({ name, title }) => (
        <Button
          key={name}
          component="a"
          variant="default"
          loading={trade.isPending}
          href={`/v1/auth/sso/${name}/start?${new URLSearchParams({ return_to: returnTo })}`}
        >
          Sign in with {title}
        </Button>
      ))}
      {providers.length === 0 ? null : <Divider label="or" />}
    </Stack>
  );
}

import { Alert, Button, Center, Loader, Stack, Text, Title } from '@mantine/core';
import { type ReactNode, useSyncExternalStore } from 'react';
import { ApiError, ConnectionError } from '../../../src/sdk/client.ts';

type Color = 'green' | 'blue' | 'yellow' | 'red' | 'gray';

const COLORS: Record<string, Color> = {
  running: 'green',
  completed: 'green',
  healthy: 'green',
  enabled: 'green',
  allowed: 'green',
  ok: 'green',
  delivered: 'green',
  creating: 'blue',
  starting: 'blue',
  restarting: 'blue',
  installing: 'blue',
  retrying: 'yellow',
  stopping: 'yellow',
  deleting: 'yellow',
  removing: 'yellow',
  degraded: 'yellow',
  cancelled: 'yellow',
  drifted: 'yellow',
  active: 'green',
  failing: 'red',
  failed: 'red',
  error: 'red',
  missing: 'red',
  denied: 'red',
};
/** What goes on at present is told by a ring instead of a dot. */
const BUSY = ['creating', 'starting', 'restarting', 'installing', 'retrying', 'stopping', 'deleting', 'removing'];

/** The color that stands for a status. An operation that runs is not yet green. */
export function colorOf(status: string, operation = false): Color {
  return operation && status === 'running' ? 'blue' : (COLORS[status] ?? 'gray');
}

/** The state of something, told by word, color and shape. `large`: beside a heading. */
export function Status({ status, operation = false, large = false }: StatusProps) {
  const busy = BUSY.includes(status) || (operation && status === 'running');
  return (
    <span
      className="status"
      data-color={colorOf(status, operation)}
      data-busy={busy || undefined}
      data-large={large || undefined}
    >
      <span>{status.replaceAll('_', ' ')}</span>
    </span>
  );
}
interface StatusProps {
  status: string;
  operation?: boolean;
  large?: boolean;
}

/** How often "3 minutes ago" is told anew. Milliseconds. */
const TICK_MS = 20_000;
const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];
const ago = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' });
let now = Date.now();
const clock = {
  subscribe: (changed: () => void) => {
    const timer = window.setInterval(() => {
      now = Date.now();
      changed();
    }, TICK_MS);
    return () => window.clearInterval(timer);
  },
  read: () => now,
};

function inWords(seconds: number): string {
  const [unit, length] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ['second', 1];
  if (unit === 'second') return seconds > 0 ? 'in a moment' : 'just now';
  return ago.format(Math.round(seconds / length), unit);
}

/** A moment, as a person would say it; exactly on hovering. `exact`: by the reader's own clock. */
export function Time({ at, exact = false }: { at: string | null | undefined; exact?: boolean }) {
  const current = useSyncExternalStore(clock.subscribe, clock.read);
  if (at === null || at === undefined) return <span>–</span>;
  const full = new Date(at).toLocaleString();
  return (
    <time dateTime={at} title={full} className={exact ? undefined : 'nowrap'}>
      {exact ? full : inWords((Date.parse(at) - Math.max(current, Date.now() - TICK_MS)) / 1_000)}
    </time>
  );
}

export function Loading() {
  return (
    <Center p="xl">
      <Loader aria-label="Loading" role="status" />
    </Center>
  );
}

function titleOf(error: unknown): string {
  if (error instanceof ConnectionError) return 'The server cannot be reached';
  if (!(error instanceof ApiError)) return 'Failed';
  if (error.status === 403) return 'Not allowed';
  return error.status === 404 ? 'Not found' : 'The request failed';
}

/** What to do about it, where the server's message does not say. */
function adviceOf(error: unknown): string | null {
  if (error instanceof ConnectionError) return 'It may be restarting. This page reconnects automatically.';
  if (error instanceof ApiError && error.status === 403) return 'Ask an administrator for a role with this permission.';
  return null;
}

/** What went wrong, in the server's own words, and what to do. */
export function Failure({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const fields = error instanceof ApiError ? error.fields : [];
  const requestId = error instanceof ApiError ? error.requestId : null;
  const advice = adviceOf(error);
  return (
    <Alert color="red" variant="outline" className="surface" title={titleOf(error)} role="alert">
      <Stack gap="xs" align="start">
        {fields.length === 0 ? <Text size="sm">{error instanceof Error ? error.message : String(error)}</Text> : null}
        {fields.map(({ field, message, near_matches: near }) => (
          <Text size="sm" key={`${field} ${message}`}>
            <b>{field}</b>: {message}
            {near && near.length > 0 ? ` (did you mean ${near.join(', ')}?)` : ''}
          </Text>
        ))}
        {advice === null ? null : <Text size="sm">{advice}</Text>}
        {requestId === null ? null : (
          <Text size="xs" c="dimmed">
            Request {requestId}
          </Text>
        )}
        {onRetry === undefined ? null : (
          <Button size="xs" variant="default" onClick={onRetry}>
            Try again
          </Button>
        )}
      </Stack>
    </Alert>
  );
}

/** Nothing to show, and what to do about it. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <Center p="xl">
      <Stack align="center" gap={6}>
        <Text fw={600}>{title}</Text>
        <Text size="sm" c="dimmed" ta="center" component="div">
          {children}
        </Text>
      </Stack>
    </Center>
  );
}

/** The heading of a part of a page. */
export function Heading({ children }: { children: ReactNode }) {
  return (
    <Title order={2} size="h5" mt="xs">
      {children}
    </Title>
  );
}

import { Alert, Badge, Button, Center, Loader, Stack, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import { ApiError } from '../../../src/sdk/client.ts';

const COLORS: Record<string, string> = {
  running: 'green',
  completed: 'green',
  healthy: 'green',
  pending: 'gray',
  creating: 'blue',
  starting: 'blue',
  restarting: 'blue',
  stopping: 'yellow',
  deleting: 'yellow',
  degraded: 'yellow',
  stopped: 'gray',
  cancelled: 'yellow',
  failed: 'red',
  error: 'red',
  missing: 'red',
  denied: 'red',
};

/** The state of something, told by word and colour. An operation that runs is not yet green. */
export function Status({ status, operation = false }: { status: string; operation?: boolean }) {
  const color = operation && status === 'running' ? 'blue' : (COLORS[status] ?? 'gray');
  return (
    <Badge color={color} variant="light" autoContrast>
      {status}
    </Badge>
  );
}

/** A moment, as the reader's own clock would say it; exactly on hovering. */
export function Time({ at }: { at: string | null | undefined }) {
  if (at === null || at === undefined) return <span>–</span>;
  return (
    <time dateTime={at} title={at} className="nowrap">
      {new Date(at).toLocaleString()}
    </time>
  );
}

export function Loading() {
  return (
    <Center p="xl">
      <Loader aria-label="Loading" />
    </Center>
  );
}

/** What went wrong, in the server's own words, and what to do. */
export function Failure({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const fields = error instanceof ApiError ? error.fields : [];
  const requestId = error instanceof ApiError ? error.requestId : null;
  return (
    <Alert
      color="red"
      title={error instanceof ApiError && error.status === 403 ? 'Not allowed' : 'That did not work'}
      role="alert"
    >
      <Stack gap="xs" align="start">
        {fields.length === 0 ? <Text size="sm">{error instanceof Error ? error.message : String(error)}</Text> : null}
        {fields.map(({ field, message, near_matches: near }) => (
          <Text size="sm" key={`${field} ${message}`}>
            <b>{field}</b>: {message}
            {near && near.length > 0 ? ` (near: ${near.join(', ')})` : ''}
          </Text>
        ))}
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
      <Stack align="center" gap="xs">
        <Text fw={600}>{title}</Text>
        <Text size="sm" c="dimmed" ta="center" component="div">
          {children}
        </Text>
      </Stack>
    </Center>
  );
}

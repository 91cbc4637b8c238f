import { Paper, Progress, Text } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';
import type { OperationEvent } from '../../../src/sdk/client.ts';
import { queryClient } from '../queries.ts';
import { client } from '../session.ts';
import { Failure } from './states.tsx';

/** Lines drawn at most; the API has all of them. */
const MAX_LINES = 5_000;

/** The events of an operation, live: progress and every line. */
export function EventLog({ operationId, progress }: { operationId: string; progress: number }) {
  const [events, setEvents] = useState<OperationEvent[]>([]);
  const [error, setError] = useState<unknown>(null);
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const controller = new AbortController();
    setEvents([]);
    setError(null);
    const follow = async () => {
      for await (const event of client.follow(operationId, { signal: controller.signal })) {
        setEvents((seen) => [...seen, event].slice(-MAX_LINES));
      }
      await queryClient.invalidateQueries({ queryKey: ['/v1/operations', operationId] });
    };
    follow().catch((reason: unknown) => {
      if (!controller.signal.aborted) setError(reason);
    });
    return () => controller.abort();
  }, [operationId]);
  const count = events.length;
  useEffect(() => {
    if (count > 0) end.current?.scrollIntoView({ block: 'nearest' });
  }, [count]);
  const latest = events.findLast((event) => event.progress !== undefined)?.progress ?? progress;
  return (
    <>
      <Progress value={latest} mb="sm" aria-label="Progress" />
      {error === null ? null : <Failure error={error} />}
      <Paper withBorder p="sm" className="log" role="log" aria-label="Events" tabIndex={0}>
        {events.map((event) => (
          <EventLine key={event.seq} event={event} />
        ))}
        <div ref={end} />
      </Paper>
    </>
  );
}

function EventLine({ event }: { event: OperationEvent }) {
  if (event.type === 'progress') return null;
  const { host, error } = event as { host?: string; error?: string };
  return (
    <div>
      <Text span c="dimmed" size="xs" mr="xs">
        {new Date(event.at).toLocaleTimeString()}
      </Text>
      {host === undefined ? null : `${host}: `}
      {event.type === 'log' ? event.line : <b>{event.status}</b>}
      {typeof error === 'string' ? `: ${error}` : null}
    </div>
  );
}

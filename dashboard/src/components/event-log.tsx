import { Alert, Group, Progress, Switch, Text } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';
import type { OperationEvent } from '../../../src/sdk/client.ts';
import { queryClient } from '../queries.ts';
import { client } from '../session.ts';
import { colorOf, Failure } from './states.tsx';

/** Lines drawn at most; the API has all of them. */
const MAX_LINES = 5_000;
/** Of a log from the end, nearer than this counts as "at the end". Pixels. */
const NEAR_END = 40;
/** Events that come within it are drawn at once. Milliseconds. */
const GATHER_MS = 60;

interface Followed {
  events: readonly OperationEvent[];
  /** Events in all; more than those kept. */
  seen: number;
  error: unknown;
}

/** The events of an operation as they happen, each once and in order, also over a restart of the server. */
function useEvents(operationId: string): Followed {
  const [followed, setFollowed] = useState<Followed>({ events: [], seen: 0, error: null });
  useEffect(() => {
    const controller = new AbortController();
    let fresh: OperationEvent[] = [];
    let timer: number | undefined;
    setFollowed({ events: [], seen: 0, error: null });
    const flush = () => {
      timer = undefined;
      const more = fresh;
      fresh = [];
      setFollowed((now) => ({
        ...now,
        events: [...now.events, ...more].slice(-MAX_LINES),
        seen: now.seen + more.length,
      }));
    };
    const follow = async () => {
      for await (const event of client.follow(operationId, { signal: controller.signal })) {
        fresh.push(event);
        timer ??= window.setTimeout(flush, GATHER_MS);
      }
      await queryClient.invalidateQueries({ queryKey: ['/v1/operations', operationId] });
    };
    follow().catch((error: unknown) => {
      if (!controller.signal.aborted) setFollowed((now) => ({ ...now, error }));
    });
    return () => {
      controller.abort();
      window.clearTimeout(timer);
    };
  }, [operationId]);
  return followed;
}

interface EventLogProps {
  operationId: string;
  progress: number;
  status: string;
}

/** The events of an operation, live: progress and every line. It stays at its end until somebody scrolls up. */
export function EventLog({ operationId, progress, status }: EventLogProps) {
  const { events, seen, error } = useEvents(operationId);
  const [following, setFollowing] = useState(true);
  const log = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (following && seen > 0) log.current?.scrollTo({ top: log.current.scrollHeight });
  }, [seen, following]);
  const latest = events.findLast((event) => event.progress !== undefined)?.progress ?? progress;
  const lines = events.filter(({ type }) => type !== 'progress');
  return (
    <section aria-label="Log">
      <Group justify="space-between" mb={6} gap="xs">
        <Text size="sm" fw={600}>
          Log
        </Text>
        <Switch
          size="xs"
          label="Follow"
          checked={following}
          onChange={(event) => setFollowing(event.currentTarget.checked)}
        />
      </Group>
      <Progress
        value={Math.max(latest, progress)}
        color={`var(--app-${colorOf(status, true)})`}
        size="sm"
        mb="xs"
        aria-label={`Progress: ${Math.max(latest, progress)} %`}
      />
      {error === null ? null : <Failure error={error} />}
      {seen > events.length ? (
        <Alert color="gray" p="xs" mb="xs">
          The first {(seen - events.length).toLocaleString('en')} events are not shown here. The API returns all of
          them.
        </Alert>
      ) : null}
      <div
        ref={log}
        className="surface log"
        role="log"
        aria-label="Events"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        tabIndex={0}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) =>
          setFollowing(scrollHeight - scrollTop - clientHeight < NEAR_END)
        }
      >
        {lines.length === 0 ? (
          <Text size="sm" c="dimmed">
            No events yet.
          </Text>
        ) : null}
        {lines.map((event) => (
          <EventLine key={event.seq} event={event} />
        ))}
      </div>
    </section>
  );
}

function EventLine({ event }: { event: OperationEvent }) {
  const { host, error, stream } = event as { host?: string; error?: string; stream?: string };
  return (
    <div className="log-line" data-seq={event.seq} data-stream={stream}>
      <time dateTime={event.at} title={new Date(event.at).toLocaleString()}>
        {new Date(event.at).toLocaleTimeString('en-GB')}
      </time>
      <span>
        {host === undefined || event.line?.startsWith(`${host}: `) ? null : `${host}: `}
        {event.type === 'log' ? (
          event.line
        ) : (
          <span className="log-status" data-color={colorOf(String(event.status), true)}>
            {event.status}
          </span>
        )}
        {typeof error === 'string' ? `: ${error}` : null}
      </span>
    </div>
  );
}

import { useEffect } from 'react';
import { queryClient } from './queries.ts';
import { client } from './session.ts';

/** Changes are shown this long after the first of a burst at the latest. Milliseconds. */
const GATHER_MS = 500;

/** Which queries a change of an operation of this kind shows in. Any operation may be a step of a workflow. */
function touchedBy(kind: string): string[] {
  return ['/v1/operations', '/v1/workflows', `/v1/${kind.split('.')[0]}s`, 'counts'];
}

/** Follows everything that happens and lets what is on the screen be read again: nobody needs to reload. */
export function useLiveUpdates(): void {
  useEffect(() => {
    const controller = new AbortController();
    const touched = new Set<string>();
    let timer: number | undefined;
    const refresh = () => {
      timer = undefined;
      for (const key of touched) void queryClient.invalidateQueries({ queryKey: [key] });
      touched.clear();
    };
    const follow = async () => {
      for await (const event of client.feed({ signal: controller.signal })) {
        if (event.type === 'log') continue;
        for (const key of touchedBy(event.kind)) touched.add(key);
        timer ??= window.setTimeout(refresh, GATHER_MS);
      }
    };
    // Without the feed the pages still work: they are read again whenever they come to the front. What ended it (no
    // permission, a session that is over) shows in their own requests.
    follow().catch(() => controller.abort());
    return () => {
      controller.abort();
      window.clearTimeout(timer);
    };
  }, []);
}

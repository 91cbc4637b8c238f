import { useEffect } from 'react';
import { queryClient } from './queries.ts';
import { client } from './session.ts';

/** Changes are shown this long after the first of a burst, and what had to be read for the burst before. Milliseconds. */
const GATHER_MS = 500;
/** Rest after reading again, in times of what it took: a page that is much to read is read less often. */
const REST = 3;

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
    let reading = false;
    // One at a time: to begin anew while the last answers are on their way would throw these away, and for ever where
    // there is always something new.
    const refresh = async () => {
      timer = undefined;
      reading = true;
      const keys = [...touched];
      touched.clear();
      const begun = performance.now();
      await Promise.all(keys.map((key) => queryClient.invalidateQueries({ queryKey: [key] })));
      reading = false;
      if (touched.size > 0) later(Math.max(GATHER_MS, (performance.now() - begun) * REST));
    };
    const later = (delay: number) => {
      if (reading || controller.signal.aborted) return;
      timer ??= window.setTimeout(() => void refresh(), delay);
    };
    const follow = async () => {
      for await (const event of client.feed({ signal: controller.signal })) {
        if (event.type === 'log') continue;
        for (const key of touchedBy(event.kind)) touched.add(key);
        later(GATHER_MS);
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

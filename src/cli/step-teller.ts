import type { Client, Operation } from '../sdk/client.ts';

/** Between two looks at the steps of a workflow, at least. Milliseconds. */
const LOOK_EVERY_MS = 1_000;
/** Looking takes one part of the time in so many at most: a large workflow has thousands of steps. */
const SHARE_OF_TIME = 10;

/** Tells of each step of a workflow where it stands when that changes; of other operations nothing. */
export function createStepTeller(client: Client, { id, kind }: Operation, note: (text: string) => void) {
  const known = new Map<string, string>();
  let next = 0;
  const look = async () => {
    const begin = performance.now();
    for (const step of await client.get('/v1/workflows/{id}/steps', { path: { id } })) {
      if (['waiting', known.get(step.id)].includes(step.status)) continue;
      known.set(step.id, step.status);
      note(`${step.id}  ${step.kind} ${step.status}${step.error === null ? '' : `: ${step.error}`}`);
    }
    next = performance.now() + Math.max(LOOK_EVERY_MS, SHARE_OF_TIME * (performance.now() - begin));
  };
  const applies = kind === 'workflow.run';
  return {
    async look(): Promise<void> {
      if (applies && performance.now() >= next) await look();
    },
    async end(): Promise<void> {
      if (applies) await look();
    },
  };
}

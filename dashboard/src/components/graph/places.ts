import { useEffect, useState } from 'react';
import type { Direction, Placed, Shape } from './layout.ts';
import type { Graph } from './model.ts';

/** Places, and of which shape they are. */
export interface Places {
  shape: string;
  placed: readonly Placed[];
}

/** A place for every step. Until those of another shape are found, the ones before; null before the first. */
export function usePlaces({ steps, edges }: Graph, direction: Direction): Places | null {
  const [places, setPlaces] = useState<Places | null>(null);
  const given: Shape = { steps: steps.map(({ id, nodes }) => ({ id, nodes: nodes.length })), edges, direction };
  const shape = JSON.stringify(given);
  useEffect(() => {
    const worker = new Worker(new URL('./layout-worker.ts', import.meta.url), { type: 'module' });
    worker.onmessage = ({ data }: MessageEvent<Placed[]>) => setPlaces({ shape, placed: data });
    worker.postMessage(JSON.parse(shape));
    return () => worker.terminate();
  }, [shape]);
  return places;
}

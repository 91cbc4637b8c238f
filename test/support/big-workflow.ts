/** Runs of many steps for the dashboard's tests and pictures: real graphs, of which nothing is carried out. */
import type pg from 'pg';
import { type Client, ended } from './server.ts';
import { type StepInput, submitBatch } from './workflows.ts';

/** What a run is to look like. */
interface Layers {
  /** Steps that may run at the same time; each waits for two of the ones before. */
  width: number;
  layers: number;
  /** Nodes of each step; absent: one. */
  nodes?: number;
}

/** The layer in which it fails, as a part of all. */
const FAILS_AT = 0.7;
const NAMES = ['build', 'network', 'disk', 'server', 'base', 'service', 'check', 'route'];

/**
 * Submits a graph whose steps are all skipped, and then writes down how it would stand had it failed on the way: what was
 * before is completed, one step failed, what is after was not run. @returns the id of the workflow.
 */
export async function makeBigWorkflow(
  admin: Client,
  pool: pg.Pool,
  { width, layers, nodes = 1 }: Layers,
): Promise<string> {
  const idOf = (layer: number, place: number) => `${NAMES[layer % NAMES.length]}_${layer}_${place}`;
  const steps = Array.from({ length: layers * width }, (_, n): StepInput => {
    const [layer, place] = [Math.floor(n / width), n % width];
    const before = [place, place + 1].filter((other) => other < width);
    return {
      id: idOf(layer, place),
      kind: 'wait',
      when: false,
      with: { seconds: 1 },
      ...(nodes === 1 ? {} : { for_each: `\${{ range(\`${nodes}\`) }}` }),
      ...(layer === 0 ? {} : { depends_on: before.map((other) => idOf(layer - 1, other)) }),
    };
  });
  const { id } = await submitBatch(admin, steps);
  await ended(admin, id, 120);
  const failing = Math.floor(layers * FAILS_AT) * width * nodes;
  await pool.query(
    `update provisioning.workflow_nodes set fields = '{"seconds":1}', status = case when position < $2 then 'completed' when position = $2 then 'failed' else 'not_run' end,
            error = case when position = $2 then 'The disk is full: there is no space left on the device.' end
     where workflow_id = $1`,
    [id, failing],
  );
  await pool.query(`update provisioning.operations set status = 'failed', error = $2 where id = $1`, [
    id,
    `${idOf(Math.floor(layers * FAILS_AT), 0)} failed`,
  ]);
  return id;
}

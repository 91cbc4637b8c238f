/** The workflow part of the demo: a three-node cluster, with its graph live in the terminal. */
import { setTimeout as sleep } from 'node:timers/promises';

interface Node {
  id: string;
  step: string;
  kind: string;
  depends_on: { id: string }[];
  status: string;
  error: string | null;
}
interface Run {
  id: string;
  status: string;
  progress: number;
  error: string | null;
}
type Call = <T>(method: string, route: string, body?: unknown) => Promise<T>;

/** How often the view is drawn anew where it can be drawn over. Milliseconds. */
const DRAW_MS = 150;
const MARKS: Record<string, [mark: string, color: number]> = {
  waiting: ['·', 2],
  running: ['▶', 36],
  retrying: ['↻', 33],
  completed: ['✔', 32],
  failed: ['✘', 31],
  cancelled: ['✘', 33],
  skipped: ['–', 2],
  not_run: ['–', 2],
};

/**
 * Follows a workflow until it has ended: on a terminal one line a step, drawn over; elsewhere a line for each change.
 * @throws when it did not complete.
 */
export async function watchGraph(
  call: Call,
  id: string,
  out: { paint: (code: number, text: string) => string; terminal: boolean },
): Promise<void> {
  const started = Date.now();
  const told = new Map<string, string>();
  let drawn = 0;
  for (;;) {
    const [run, nodes] = [
      await call<Run>('GET', `/v1/workflows/${id}`),
      await call<Node[]>('GET', `/v1/workflows/${id}/steps`),
    ];
    const ended = !['pending', 'running'].includes(run.status);
    const seconds = `${((Date.now() - started) / 1_000).toFixed(1).padStart(5)} s`;
    if (out.terminal) {
      const lines = [
        ...graphLines(nodes, out.paint),
        `  ${out.paint(2, `${seconds}  ${run.progress} %  ${run.status}`)}`,
      ];
      process.stdout.write(
        `${drawn > 0 ? `\u001b[${drawn}A` : ''}${lines.map((line) => `\u001b[2K${line}\n`).join('')}`,
      );
      drawn = lines.length;
    } else {
      for (const node of nodes) {
        if (told.get(node.id) === node.status || node.status === 'waiting') continue;
        told.set(node.id, node.status);
        process.stdout.write(`  ${seconds}  ${node.id} ${node.status}\n`);
      }
    }
    if (ended) {
      if (run.status !== 'completed') throw new Error(`The workflow ${id} ended ${run.status}: ${run.error}`);
      return;
    }
    await sleep(DRAW_MS);
  }
}

/** `nodes  server.create  ✔ ▶ ·  after …`: a line a step, in the order of the graph. What is left out is not shown. */
function graphLines(nodes: readonly Node[], paint: (code: number, text: string) => string): string[] {
  const steps = new Map<string, Node[]>();
  for (const node of nodes) {
    if (node.status !== 'skipped') steps.set(node.step, [...(steps.get(node.step) ?? []), node]);
  }
  const width = Math.max(0, ...[...steps.keys()].map((step) => step.length));
  return [...steps].map(([step, own]) => {
    const marks = own.map(({ status }) => {
      const [mark, color] = MARKS[status] ?? ['?', 0];
      return paint(color, mark);
    });
    const before = (own[0]?.depends_on ?? []).map(({ id }) => id).filter((id) => steps.has(id));
    const after = before.length === 0 ? '' : paint(2, `  after ${before.join(', ')}`);
    return `  ${step.padEnd(width)}  ${paint(2, (own[0]?.kind ?? '').padEnd(16))} ${marks.join(' ')}${after}`;
  });
}

import type { Client, Schemas } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';
import type { Session } from '../session.ts';
import { namedValues, PARAMETERS, readText, WORKSPACE } from './parameters.ts';

type Graph = Schemas['WorkflowGraph'];

const FORMATS = ['mermaid', 'dot'] as const;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const ROWS = {
  columns: [field('wave'), field('step'), field('kind'), field('nodes'), field('needs'), field('status')],
  name: 'step',
};

/** The graph of a type with these parameters, or of a definition in a file. @throws UsageError, ApiError */
export async function validated(client: Client, workflowType: string | undefined, options: OptionValues) {
  const file = text(options, 'file');
  if ((file === undefined) === (workflowType === undefined))
    throw new UsageError('Give either a workflow type or --file.');
  const body = {
    workspace: text(options, 'workspace') ?? 'default',
    parameters: await namedValues('--parameter', texts(options, 'parameter')),
    ...given({
      workflow_type: workflowType,
      definition: file === undefined ? undefined : await readText(file, '--file'),
    }),
  };
  return client.post('/v1/workflows/validate', { body });
}

/** Prints a graph: for a person its steps in the order of their waves. */
export function printGraph(
  session: Session,
  graph: Graph,
  options: OptionValues,
  statuses = new Map<string, string>(),
) {
  const format = FORMATS.find((name) => name === options.format);
  if (format !== undefined) return session.terminal.out(format === 'dot' ? dot(graph) : mermaid(graph));
  if (options.output !== 'table' && options.output !== 'name') return session.record(graph, { name: 'workflow_type' });
  const rows = graph.waves.flatMap((wave, index) =>
    wave.map((id) => {
      const step = graph.steps.find((candidate) => candidate.id === id);
      return {
        wave: index + 1,
        step: id,
        kind: step?.kind,
        nodes: step?.nodes,
        needs: graph.edges.filter(({ to }) => to === id).map(({ from }) => from),
        status: statuses.get(id),
      };
    }),
  );
  const columns = ROWS.columns.filter(({ heading }) => heading !== 'STATUS' || statuses.size > 0);
  session.rows(rows, { ...ROWS, columns });
  session.terminal.note(`Critical path: ${graph.critical_path.join(' → ')}`);
}

function mermaid({ steps, edges }: Graph): string {
  const name = (id: string) => `s${steps.findIndex((step) => step.id === id)}`;
  const boxes = steps.map(({ id, kind, nodes }) => `  ${name(id)}["${id}: ${kind}${nodes > 1 ? ` ×${nodes}` : ''}"]\n`);
  const arrows = edges.map(({ from, to, type }) => `  ${name(from)} ${type === 'hard' ? '-->' : '-.->'} ${name(to)}\n`);
  return `flowchart TD\n${[...boxes, ...arrows].join('')}`;
}

function dot({ steps, edges }: Graph): string {
  const quoted = (word: string) => JSON.stringify(word);
  const boxes = steps.map(
    ({ id, kind, nodes }) => `  ${quoted(id)} [label=${quoted(`${id}\n${kind}${nodes > 1 ? ` ×${nodes}` : ''}`)}];\n`,
  );
  const arrows = edges.map(
    ({ from, to, type }) => `  ${quoted(from)} -> ${quoted(to)}${type === 'hard' ? '' : ' [style=dashed]'};\n`,
  );
  return `digraph workflow {\n  node [shape=box];\n${[...boxes, ...arrows].join('')}}\n`;
}

/** How the nodes of each step of a run stand, such as `2 completed, 1 running`. */
async function statusesOf(client: Client, id: string): Promise<Map<string, string>> {
  const counts = new Map<string, Map<string, number>>();
  for (const { step, status } of await client.get('/v1/workflows/{id}/steps', { path: { id } })) {
    const ofStep = counts.get(step) ?? new Map<string, number>();
    counts.set(step, ofStep.set(status, (ofStep.get(status) ?? 0) + 1));
  }
  return new Map(
    [...counts].map(([step, ofStep]) => [step, [...ofStep].map(([status, count]) => `${count} ${status}`).join(', ')]),
  );
}

async function graphOfRun(client: Client, id: string) {
  const { workflow_type: type, workspace, parameters } = await client.get('/v1/workflows/{id}', { path: { id } });
  if (type === null)
    throw new UsageError(
      `Workflow ${id} was submitted without a type, so its graph cannot be computed. Validate its file instead: provisioning workflow validate --file <file>`,
    );
  return client.post('/v1/workflows/validate', { body: { workspace, workflow_type: type, parameters } });
}

/** `workflow validate` and `workflow graph`. */
export const workflowGraphCommands: readonly CommandDefinition[] = [
  {
    name: 'workflow validate',
    summary: 'check a workflow and show in which order its steps would run',
    examples: [
      'provisioning workflow validate cluster_create -p cluster_name=blue -p node_count=3',
      'provisioning workflow validate --file my-workflow.yaml',
    ],
    arguments: [{ name: 'type', description: 'workflow type', optional: true, names: 'workflow-type' }],
    options: [WORKSPACE, PARAMETERS, { flags: '--file <file>', description: 'definition file, instead of a type' }],
    covers: ['POST /v1/workflows/validate'],
    async run(session, [workflowType], options) {
      printGraph(session, await validated(await session.client(), workflowType, options), options);
    },
  },
  {
    name: 'workflow graph',
    summary: 'show the graph of a workflow run or of a workflow type',
    description:
      'For a run it also shows the status of the steps. The graph is computed from the present definition of the type.',
    examples: [
      'provisioning workflow graph 01a20f95-0b28-7041-8584-a68ad54fc75b',
      'provisioning workflow graph cluster_create -p cluster_name=blue -p node_count=3 --format dot | dot -Tsvg > blue.svg',
    ],
    arguments: [
      { name: 'workflow', description: 'id of a workflow run, or a workflow type', optional: true, names: 'workflow' },
    ],
    options: [
      WORKSPACE,
      PARAMETERS,
      { flags: '--file <file>', description: 'definition file, instead of a type' },
      { flags: '--format <format>', description: 'print a drawing for another program', choices: FORMATS },
    ],
    covers: ['POST /v1/workflows/validate', 'GET /v1/workflows/{id}', 'GET /v1/workflows/{id}/steps'],
    async run(session, [workflow], options) {
      const client = await session.client();
      if (workflow === undefined || !UUID.test(workflow)) {
        return printGraph(session, await validated(client, workflow, options), options);
      }
      printGraph(session, await graphOfRun(client, workflow), options, await statusesOf(client, workflow));
    },
  },
];

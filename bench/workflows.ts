import { randomBytes } from 'node:crypto';
import { expectOk } from '../test/support/acceptance.ts';
import { ended, type Operation, type TestServer } from '../test/support/server.ts';
import { makes, type StepInput, submitBatch } from '../test/support/workflows.ts';
import { startInstallation } from './support/installation.ts';
import { forgetPeak, processorSeconds, residentMebibytes } from './support/kernel.ts';
import { type Benchmark, compare, type Line, type Pair, plain } from './support/stats.ts';
import { findTerraform, type Terraform, terraformOf } from './support/terraform.ts';

/** Resources, how often each is measured, and what the ratio should be. */
const SIZES = [
  { nodes: 100, rounds: 5, aim: { atMost: 0.9 } },
  { nodes: 1_000, rounds: 5, aim: { atMost: 0.3 } },
  { nodes: 3_000, rounds: 1, aim: { atMost: 0.1 } },
  { nodes: 10_000, rounds: 1, aim: null },
] as const;
/** Beyond this the floor takes a quarter of an hour: its time grows with the square. */
const MOST_FOR_TERRAFORM = 3_000;
const TIMEOUT_SECONDS = 600;

interface Measured {
  all: number;
  one: number;
}

/** One for each size, so that they can be run one by one. */
export const workflows: Benchmark[] = SIZES.map((size) => ({
  name: `workflows-${size.nodes}`,
  about: `a workflow of ${size.nodes} servers without latency, against \`terraform apply\` of as many terraform_data, both 100 at once`,
  run: (log) => measure(size, log),
}));

async function measure({ nodes, rounds, aim }: (typeof SIZES)[number], log: (line: string) => void): Promise<Line[]> {
  const binary = await findTerraform();
  if (binary === null) log('there is no terraform on this machine: measured without the floor');
  const figures = {
    all: [] as Partial<Pair>[],
    one: [] as Partial<Pair>[],
    peak: [] as number[],
    perNode: [] as number[],
  };
  for (let round = 0; round < rounds; round += 1) {
    const ours = await measureOurs(nodes);
    log(`${nodes} nodes: ${ours.all.toFixed(2)} s, one again ${ours.one.toFixed(2)} s`);
    const floor = binary !== null && nodes <= MOST_FOR_TERRAFORM ? await measureTerraform(binary, nodes) : null;
    if (floor !== null) log(`terraform: ${floor.all.toFixed(2)} s, one changed ${floor.one.toFixed(2)} s`);
    figures.all.push({ ours: ours.all, ...(floor === null ? {} : { floor: floor.all }) });
    figures.one.push({ ours: ours.one, ...(floor === null ? {} : { floor: floor.one }) });
    figures.peak.push(ours.peak);
    figures.perNode.push((ours.processor / nodes) * 1_000);
  }
  return [
    line(`${nodes} nodes`, figures.all, aim),
    line(`one of ${nodes} again`, figures.one, null),
    plain("the server's processor time a node", figures.perNode, 'ms'),
    plain('highest memory of the server', figures.peak, 'MiB'),
  ];
}

function line(what: string, rounds: readonly Partial<Pair>[], aim: Line['aim']): Line {
  const pairs = rounds.flatMap(({ ours, floor }) =>
    ours === undefined || floor === undefined ? [] : [{ ours, floor }],
  );
  if (pairs.length > 0) return compare(what, pairs, 's', aim);
  return plain(
    what,
    rounds.flatMap(({ ours }) => ours ?? []),
    's',
  );
}

/**
 * On an installation of its own with the defaults of production. Seconds as a client sees them, from the request to the
 * end. `one`: the run in which all but one node had completed is tried again, which does that one alone.
 */
async function measureOurs(nodes: number): Promise<Measured & { peak: number; processor: number }> {
  await using installation = await startInstallation({ LOG_LEVEL: 'warn' });
  const { server } = installation;
  const { admin } = server;
  const pid = server.process.pid ?? 0;
  const name = randomBytes(4).toString('hex');
  // Warm up: the first run compiles the code and opens the connections.
  await timed(server, servers('warm', 100), 'completed');
  await forgetPeak(pid);
  const before = await processorSeconds(pid);
  const all = await timed(server, servers(name, nodes), 'completed');
  const processor = (await processorSeconds(pid)) - before;
  const peak = await residentMebibytes(pid, 'VmHWM');
  // A hostname that is taken makes the last node fail; once it is free the run goes on with that node alone.
  const blocker = await timed(server, [makes('first', 'taken')], 'completed');
  const failed = await timed(
    server,
    [...servers(`again-${name}`, nodes - 1), makes('last', 'taken', { depends_on: ['servers'], on_failure: 'fail' })],
    'failed',
  );
  const listed = expectOk(await admin.request<{ id: string; hostname: string }[]>('GET', '/v1/servers?hostname=taken'));
  const taken = listed.find(({ hostname }) => hostname === 'taken');
  if (taken === undefined) throw new Error(`the server "taken" of workflow ${blocker.id} is not in the list`);
  const deletion = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${taken.id}`));
  await ended(admin, deletion.id, TIMEOUT_SECONDS);
  const begun = performance.now();
  const again = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${failed.id}/retry`));
  const done = await ended(admin, again.id, TIMEOUT_SECONDS);
  if (done.status !== 'completed') throw new Error(`the retry ended otherwise: ${JSON.stringify(done)}`);
  return { all: all.seconds, one: (performance.now() - begun) / 1_000, peak, processor };
}

/** One step that makes so many servers. */
function servers(prefix: string, count: number): StepInput[] {
  return [makes('servers', `${prefix}-\${{ item }}`, { for_each: `\${{ range(\`${count}\`) }}` })];
}

/** Submits a graph and waits for its end. */
async function timed(
  { admin }: TestServer,
  steps: StepInput[],
  status: string,
): Promise<{ id: string; seconds: number }> {
  const begun = performance.now();
  const { id } = await submitBatch(admin, steps);
  const done = await ended(admin, id, TIMEOUT_SECONDS);
  if (done.status !== status) throw new Error(`the workflow ended otherwise: ${JSON.stringify(done).slice(0, 2_000)}`);
  return { id, seconds: (performance.now() - begun) / 1_000 };
}

/** `one`: the input of one resource has changed. Both with the refresh and the plan that an apply begins with. */
async function measureTerraform(binary: string, nodes: number): Promise<Measured> {
  await using terraform: Terraform = await terraformOf(binary, nodes);
  return { all: await terraform.apply('first'), one: await terraform.apply('second') };
}

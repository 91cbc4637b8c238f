import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import type { Host } from '../test/machine/catalog-host.ts';
import { preparedImage } from '../test/machine/prepared-image.ts';
import { importMachines, startMachines, workspaceKey } from '../test/machine/ssh-machines.ts';
import { expectOk } from '../test/support/acceptance.ts';
import { containerEngine } from '../test/support/container-engine.ts';
import { type Client, ended, type Operation, startTestServer } from '../test/support/server.ts';
import { type Benchmark, compare, median, type Pair } from './support/stats.ts';

const HOSTS = 10;
/** Each is forty fresh machines, which takes some minutes on two idle processors. */
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
/** Of the runs that change nothing in each round: they are short. */
const REPEATED = 3;
const PORT = 8080;
const PAGE = 'Ten hosts say hello.';
const TIMEOUT_MS = 900_000;
/** What the modules of Ansible need on the hosts. The others get the same machines. */
const FOR_ANSIBLE = ['python3', 'python3-apt'];
/** Left out of a login: machines that live for minutes have no host key that anybody knows. */
const SSH_OPTIONS = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR'];
const run = promisify(execFile);

const SITE = 'server { listen {{ port }} default_server; location / { return 200 "{{ page }}\\n"; } }\n';
/** nginx from the distribution, one file that a template makes, and whether it answers: three tasks and a handler. */
const PLAYBOOK = `
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.apt: { name: nginx, state: present, install_recommends: false }
    - ansible.builtin.template: { src: site.j2, dest: /etc/nginx/sites-available/default, mode: "0644" }
      notify: reload
    - ansible.builtin.meta: flush_handlers
    - ansible.builtin.uri: { url: "http://127.0.0.1:{{ port }}/", return_content: true }
      register: page
      retries: 20
      delay: 0.2
      until: page.status == 200 and "${PAGE}" in page.content
  handlers:
    - name: reload
      ansible.builtin.service: { name: nginx, state: restarted }
`;
/** The same for pyinfra. */
const DEPLOY = `
from pyinfra.operations import apt, files, server, sysvinit

apt.packages(packages=["nginx"], no_recommends=True)
site = files.template(
    src="site.j2", dest="/etc/nginx/sites-available/default", mode="644", port=${PORT}, page="${PAGE}"
)
sysvinit.service(service="nginx", restarted=True, _if=site.did_change)
server.shell(commands=["curl -fsS --retry 20 --retry-delay 1 --retry-connrefused http://127.0.0.1:${PORT}/ | grep -q '${PAGE}'"])
`;
/** The same by hand: is the package there, is the file as it was, does the service answer. */
const BARE = `dpkg-query -W nginx && sha256sum /etc/nginx/nginx.conf /etc/nginx/sites-available/* &&
  curl -fsS http://127.0.0.1:${PORT}/ | grep -q '${PAGE}'`;

/** A tool that does the same from the command line. */
interface Tool {
  name: string;
  /** Whether it can run here. */
  isThere(): Promise<boolean>;
  /** Everything from the start of its process to its end. */
  apply(directory: string): Promise<unknown>;
}

const inDirectory = (directory: string, env: Record<string, string> = {}) => ({
  cwd: directory,
  timeout: TIMEOUT_MS,
  env: { ...process.env, ANSIBLE_HOST_KEY_CHECKING: 'False', ANSIBLE_HOME: directory, ANSIBLE_NOCOLOR: '1', ...env },
});
const play = (directory: string, env: Record<string, string> = {}) =>
  run('ansible-playbook', ['-i', 'inventory', '-f', String(HOSTS), 'playbook.yml'], inDirectory(directory, env));

const TOOLS: Tool[] = [
  { name: 'Ansible', isThere: async () => canRun('ansible-playbook', ['--version']), apply: play },
  {
    name: 'Ansible with mitogen',
    isThere: async () => (await canRun('ansible-playbook', ['--version'])) && (await mitogenPlugins()) !== null,
    apply: async (directory) =>
      play(directory, { ANSIBLE_STRATEGY: 'mitogen_linear', ANSIBLE_STRATEGY_PLUGINS: (await mitogenPlugins()) ?? '' }),
  },
  {
    name: 'pyinfra',
    isThere: () => canRun('pyinfra', ['--version']),
    apply: (directory) => run('pyinfra', ['-y', 'inventory.py', 'deploy.py'], inDirectory(directory)),
  },
];

async function canRun(program: string, flags: string[]): Promise<boolean> {
  return run(program, flags).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}

/** Where the Python on the search path keeps mitogen's plugins; null where it has none. */
async function mitogenPlugins(): Promise<string | null> {
  const script = 'import ansible_mitogen.plugins.strategy as s; print(s.__path__[0])';
  return run('python3', ['-c', script]).then(
    ({ stdout }) => stdout.trim(),
    () => null,
  );
}

export const hosts: Benchmark = {
  name: 'hosts',
  about: `nginx with a file and a check on ${HOSTS} hosts over ssh, against Ansible, Ansible with mitogen, pyinfra and a bare loop of ssh`,
  async missing() {
    if (!(await canRun('ssh', ['-V']))) return 'it needs ssh (apt-get install openssh-client).';
    for (const tool of TOOLS)
      if (!(await tool.isThere()))
        return `${tool.name} is not there: python3 -m venv D && D/bin/pip install ansible-core mitogen pyinfra, then PATH=D/bin:$PATH.`;
    return (await containerEngine()) === null ? 'there is no container engine (.ci/podman-up brings one up).' : null;
  },
  async run(log) {
    const found = await containerEngine();
    if (found === null) throw new Error('there is no container engine');
    const engine = new Docker({ socketPath: found.socketPath, host: undefined });
    const image = await preparedImage(engine, FOR_ANSIBLE);
    await using server = await startTestServer({ settings: { HEALTH_CHECK_INTERVAL: '0' } });
    await using keys = await makeKeys();
    const ours: Measured[] = [];
    const theirs = new Map<string, Measured[]>(TOOLS.map(({ name }) => [name, []]));
    for (let round = 0; round < ROUNDS; round += 1) {
      const names = Array.from({ length: HOSTS }, (_, n) => `bench-${round}-${n + 1}`);
      const say = (line: string) => log(`round ${round + 1}: ${line}`);
      // By turns: whoever comes first finds the disk's cache cold.
      const turns = [
        async () => ours.push(await onOurs(engine, image, server.admin, names, say)),
        ...TOOLS.map(
          (tool) => async () => theirs.get(tool.name)?.push(await onTheirs(engine, image, keys, names, tool, say)),
        ),
      ];
      for (let n = 0; n < turns.length; n += 1) await turns[(n + round) % turns.length]?.();
    }
    const of = (measured: readonly Measured[], what: keyof Measured) => measured.map((each) => each[what]);
    const against = (others: readonly Measured[], what: keyof Measured, theirWhat = what): Pair[] =>
      of(ours, what).map((value, n) => ({ ours: value, floor: of(others, theirWhat)[n] ?? Number.NaN }));
    const bare = [...theirs.values()].flat();
    return [
      ...[...theirs].flatMap(([name, others]) => [
        compare(`first run, against ${name}`, against(others, 'first'), 's', { atMost: 0.9 }),
        compare(`no-change run on new connections, against ${name}`, against(others, 'again'), 's', { atMost: 0.5 }),
      ]),
      compare('no-change run on new connections, against the bare loop', against(bare, 'again', 'bare'), 's', {
        atMost: 3,
      }),
      compare('no-change run on open connections, against the bare loop', against(bare, 'warm', 'bare'), 's', {
        atMost: 3,
      }),
    ];
  },
};

/** Seconds. Of what changes nothing, the median of several. */
interface Measured {
  first: number;
  /** With new connections. */
  again: number;
  /** On connections that are open; a tool that opens them each time has none. */
  warm: number;
  /** The bare loop. */
  bare: number;
}

/** Through the HTTP API alone. Seconds. */
async function onOurs(
  engine: Docker,
  image: string,
  client: Client,
  names: string[],
  say: (line: string) => void,
): Promise<Measured> {
  const publicKey = await workspaceKey(client, 'default');
  await using machines = await startMachines(engine, names, { publicKey, image });
  await importMachines(client, 'default', machines.hosts);
  const install = () => timed(() => installed(client, names));
  const first = await install();
  say(`ours, first: ${first.toFixed(1)} s`);
  const warm: number[] = [];
  const cold: number[] = [];
  for (let n = 0; n < REPEATED; n += 1) {
    await endConnections(machines.hosts);
    cold.push(await install());
    warm.push(await install());
  }
  say(`ours, no change, new connections: ${seconds(cold)}; open ones: ${seconds(warm)}`);
  return { first, again: median(cold), warm: median(warm), bare: Number.NaN };
}

async function installed(client: Client, servers: string[]): Promise<void> {
  const body = { workspace: 'default', name: 'nginx', servers, config: { port: PORT, index_page: PAGE } };
  const { id } = expectOk(await client.request<Operation>('POST', '/v1/taskservs/create', body));
  const end = await ended(client, id, TIMEOUT_MS / 1_000);
  if (end.status !== 'completed') throw new Error(`the install ended ${end.status}: ${end.error}`);
}

/** Ends what sshd holds open, as an hour without work would. */
async function endConnections(hosts: readonly Host[]): Promise<void> {
  await Promise.all(hosts.map((host) => host.run(['pkill', '-f', '^sshd: root'])));
}

interface Keys extends AsyncDisposable {
  directory: string;
  privateKey: string;
  publicKey: string;
}

async function makeKeys(): Promise<Keys> {
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-bench-'));
  const privateKey = path.join(directory, 'key');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', privateKey]);
  return {
    directory,
    privateKey,
    publicKey: execFileSync('ssh-keygen', ['-y', '-f', privateKey], { encoding: 'utf8' }).trim(),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/** With another tool, and by ssh alone on what it has made. */
async function onTheirs(
  engine: Docker,
  image: string,
  { directory, privateKey, publicKey }: Keys,
  names: string[],
  tool: Tool,
  say: (line: string) => void,
): Promise<Measured> {
  await using machines = await startMachines(engine, names, { publicKey, image });
  const addresses = machines.hosts.map(({ address }) => address);
  const variables = {
    ansible_user: 'root',
    ansible_ssh_private_key_file: privateKey,
    port: PORT,
    page: JSON.stringify(PAGE),
  };
  const all = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const data = {
    ssh_user: 'root',
    ssh_key: privateKey,
    ssh_strict_host_key_checking: 'no',
    ssh_known_hosts_file: '/dev/null',
  };
  const files = {
    inventory: [...addresses, '[all:vars]', 'ansible_python_interpreter=/usr/bin/python3', ...all, ''].join('\n'),
    'playbook.yml': PLAYBOOK,
    'inventory.py': `all = (${JSON.stringify(addresses)}, ${JSON.stringify(data)})\n`,
    'deploy.py': DEPLOY,
    'site.j2': SITE,
  };
  for (const [name, content] of Object.entries(files)) await writeFile(path.join(directory, name), content);
  const first = await timed(() => tool.apply(directory));
  say(`${tool.name}, first: ${first.toFixed(1)} s`);
  const again: number[] = [];
  const bare: number[] = [];
  for (let n = 0; n < REPEATED; n += 1) {
    again.push(await timed(() => tool.apply(directory)));
    bare.push(await timed(() => bareLoop(machines.hosts, privateKey)));
  }
  say(`${tool.name}, no change: ${seconds(again)}; bare ssh: ${seconds(bare)}`);
  return { first, again: median(again), warm: Number.NaN, bare: median(bare) };
}

async function bareLoop(hosts: readonly Host[], privateKey: string): Promise<void> {
  const options = SSH_OPTIONS.flatMap((option) => ['-o', option]);
  await Promise.all(
    hosts.map(({ address }) =>
      run('ssh', [...options, '-i', privateKey, `root@${address}`, BARE], { timeout: TIMEOUT_MS }),
    ),
  );
}

function seconds(values: readonly number[]): string {
  return `${values.map((value) => value.toFixed(2)).join(', ')} s`;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1_000;
}

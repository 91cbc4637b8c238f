import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
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
import { type Benchmark, compare, type Pair } from './support/stats.ts';

const HOSTS = 10;
/** Each is twenty fresh machines, which takes two minutes on two idle processors. */
const ROUNDS = 2;
/** Of ours and of the bare loop in each round: they take a second or less. */
const REPEATED = 3;
const PORT = 8080;
const PAGE = 'Ten hosts say hello.';
const TIMEOUT_MS = 900_000;
/** What Ansible's modules need on the hosts. */
const FOR_ANSIBLE = ['python3', 'python3-apt'];
const run = promisify(execFile);

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
const SITE = 'server { listen {{ port }} default_server; location / { return 200 "{{ page }}\\n"; } }\n';
/** The same by hand: is the package there, is the file as it was, does the service answer. */
const BARE = `dpkg-query -W nginx && sha256sum /etc/nginx/nginx.conf /etc/nginx/sites-available/* &&
  curl -fsS http://127.0.0.1:${PORT}/ | grep -q '${PAGE}'`;

export const ansible: Benchmark = {
  name: 'ansible',
  about: `nginx with a file and a check on ${HOSTS} hosts over ssh, against ansible-playbook and a bare loop of ssh`,
  async missing() {
    const packages = { 'ansible-core': '/usr/bin/ansible-playbook', 'openssh-client': '/usr/bin/ssh' };
    const absent = Object.entries(packages).flatMap(([name, program]) => (existsSync(program) ? [] : [name]));
    if (absent.length > 0) return `it needs ${absent.join(' and ')} (apt-get install ${absent.join(' ')}).`;
    return (await containerEngine()) === null ? 'there is no container engine (.ci/podman-up brings one up).' : null;
  },
  async run(log) {
    const found = await containerEngine();
    if (found === null) throw new Error('there is no container engine');
    const engine = new Docker({ socketPath: found.socketPath, host: undefined });
    const image = await preparedImage(engine, FOR_ANSIBLE);
    await using server = await startTestServer({ settings: { HEALTH_CHECK_INTERVAL: '0' } });
    await using keys = await makeKeys();
    const pairs = { first: [] as Pair[], again: [] as Pair[], cold: [] as Pair[], warm: [] as Pair[] };
    for (let round = 0; round < ROUNDS; round += 1) {
      const names = Array.from({ length: HOSTS }, (_, n) => `bench-${round}-${n + 1}`);
      const say = (line: string) => log(`round ${round + 1}: ${line}`);
      const measureOurs = () => onOurs(engine, image, server.admin, names, say);
      // By turns: whoever comes second finds the disk's cache warm.
      const earlier = round % 2 === 0 ? await measureOurs() : null;
      const theirs = await onTheirs(engine, image, keys, names, say);
      const ours = earlier ?? (await measureOurs());
      pairs.first.push({ ours: ours.first, floor: theirs.first });
      pairs.again.push({ ours: ours.cold[0] ?? Number.NaN, floor: theirs.again });
      pairs.cold.push(...ours.cold.map((seconds, n) => ({ ours: seconds, floor: theirs.bare[n] ?? Number.NaN })));
      pairs.warm.push(...ours.warm.map((seconds, n) => ({ ours: seconds, floor: theirs.bare[n] ?? Number.NaN })));
    }
    return [
      compare('first run, against Ansible', pairs.first, 's', { atMost: 0.9 }),
      compare('no-change run on new connections, against Ansible', pairs.again, 's', { atMost: 0.12 }),
      compare('no-change run on new connections, against the bare loop', pairs.cold, 's', { atMost: 3 }),
      compare('no-change run on open connections, against the bare loop', pairs.warm, 's', { atMost: 3 }),
    ];
  },
};

/** Through the HTTP API alone. Seconds. */
async function onOurs(engine: Docker, image: string, client: Client, names: string[], say: (line: string) => void) {
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
  return { first, cold, warm };
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

/** With Ansible, and by ssh alone on what it has made. Seconds. */
async function onTheirs(engine: Docker, image: string, keys: Keys, names: string[], say: (line: string) => void) {
  const { directory, privateKey, publicKey } = keys;
  await using machines = await startMachines(engine, names, { publicKey, image });
  const inventory = path.join(directory, 'inventory');
  const playbook = path.join(directory, 'playbook.yml');
  const variables = [
    'ansible_user=root',
    `ansible_ssh_private_key_file=${privateKey}`,
    'ansible_python_interpreter=/usr/bin/python3',
    `port=${PORT}`,
    `page=${PAGE}`,
  ];
  const addresses = machines.hosts.map(({ address }) => address);
  await writeFile(inventory, [...addresses, '[all:vars]', ...variables, ''].join('\n'));
  await writeFile(playbook, PLAYBOOK);
  await writeFile(path.join(directory, 'site.j2'), SITE);
  const env = { ...process.env, ANSIBLE_HOST_KEY_CHECKING: 'False', ANSIBLE_HOME: directory, ANSIBLE_NOCOLOR: '1' };
  const play = () =>
    timed(() =>
      run('ansible-playbook', ['-i', inventory, '-f', String(HOSTS), playbook], { env, timeout: TIMEOUT_MS }),
    );
  const first = await play();
  say(`Ansible, first: ${first.toFixed(1)} s`);
  const again = await play();
  const bare: number[] = [];
  for (let n = 0; n < REPEATED; n += 1) bare.push(await timed(() => bareLoop(machines.hosts, privateKey)));
  say(`Ansible, no change: ${again.toFixed(1)} s; bare ssh: ${seconds(bare)}`);
  return { first, again, bare };
}

async function bareLoop(hosts: readonly Host[], privateKey: string): Promise<void> {
  const options = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR'];
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

/** Containers as hosts for the catalog's scripts, run as the transports run them: as files, with an environment. */
import { PassThrough } from 'node:stream';
import Docker from 'dockerode';
import {
  type Catalog,
  renderScripts,
  resolveConfig,
  resolveOrder,
  resolveVersion,
  type TaskservDefinition,
} from '../../src/catalog/catalog.ts';
import { sharedBudget } from '../../src/evaluation/pool.ts';

export const IMAGE = process.env.PROVISIONING_TEST_DOCKER_IMAGE ?? 'provisioning-test:debian-12';
/** Packages are not synced to the disk file by file: the container is thrown away. */
const FASTER = 'echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/unsafe-io';
/** Its value is the process that made the container. */
export const LABEL = 'provisioning-catalog-test';

/** What a command on a host did. */
export interface Outcome {
  exitCode: number;
  /** Both streams, as they came. */
  output: string;
}

/** A container that scripts are run on; removed at the end of its scope. */
export interface Host extends AsyncDisposable {
  id: string;
  name: string;
  address: string;
  /** The engine's machine, as this host reaches it. */
  gateway: string;
  /** @throws where it exits with anything but 0 */
  run(command: readonly string[], options?: { env?: Record<string, string> }): Promise<string>;
  attempt(command: readonly string[], options?: { env?: Record<string, string> }): Promise<Outcome>;
  put(path: string, content: string, mode: string): Promise<void>;
  restart(): Promise<void>;
}

/** Null where no engine is given to the tests. */
export function testEngine(): Docker | null {
  const host = process.env.PROVISIONING_TEST_DOCKER_HOST;
  if (!host) return null;
  return new Docker({ socketPath: host.replace(/^unix:\/\//, '') });
}

export interface HostOptions {
  hostname: string;
  /** The container's, which no other may have at the same time; else the engine gives it one. */
  name?: string;
  image?: string;
  privileged?: boolean;
  /** Process 1, in place of one that waits. */
  command?: string[];
  capabilities?: string[];
  /** Which it keeps when it is restarted; else the engine gives it one each time. */
  address?: string;
  /** Directories in memory with their size in bytes. */
  tmpfs?: Record<string, number>;
  /** Directories that are the machine's file system, with what the image has there. */
  volumes?: string[];
}

export async function startHost(engine: Docker, options: HostOptions): Promise<Host> {
  const container = await engine.createContainer({
    ...(options.name === undefined ? {} : { name: options.name }),
    Image: options.image ?? IMAGE,
    Hostname: options.hostname,
    Labels: { [LABEL]: String(process.pid) },
    Entrypoint: options.command ?? ['/bin/sh', '-c', `${FASTER}; while :; do sleep 3600; done`],
    StopSignal: 'SIGKILL',
    Volumes: Object.fromEntries((options.volumes ?? []).map((directory) => [directory, {}])),
    HostConfig: {
      Privileged: options.privileged ?? false,
      CapAdd: options.capabilities ?? [],
      Tmpfs: Object.fromEntries(Object.entries(options.tmpfs ?? {}).map(([path, bytes]) => [path, `size=${bytes}`])),
    },
    ...(options.address === undefined
      ? {}
      : {
          NetworkingConfig: { EndpointsConfig: { podman: { IPAMConfig: { IPv4Address: options.address } } } },
        }),
  });
  const dispose = () => container.remove({ force: true, v: true }).then(() => undefined);
  try {
    await container.start();
    const networks = Object.values((await container.inspect()).NetworkSettings.Networks);
    const network = networks.find((one) => one.IPAddress);
    if (network === undefined) throw new Error(`${options.hostname} has no address`);
    const host: Host = {
      id: container.id,
      name: options.hostname,
      address: network.IPAddress,
      gateway: network.Gateway,
      attempt: (command, given) => execute(container, command, given?.env ?? {}),
      run: async (command, given) => {
        const { exitCode, output } = await execute(container, command, given?.env ?? {});
        if (exitCode === 0) return output;
        throw new Error(`${options.hostname}: ${command.join(' ').slice(0, 200)} exited with ${exitCode}:\n${output}`);
      },
      put: async (path, content, mode) => {
        const script =
          'umask 077 && mkdir -p "$(dirname "$FILE")" && printf %s "$CONTENT" >"$FILE" && chmod "$MODE" "$FILE"';
        await host.run(['sh', '-c', script], { env: { FILE: path, CONTENT: content, MODE: mode } });
      },
      restart: () => container.restart({ t: 0 }).then(() => undefined),
      [Symbol.asyncDispose]: dispose,
    };
    return host;
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function execute(
  container: Docker.Container,
  command: readonly string[],
  env: Record<string, string>,
): Promise<Outcome> {
  const exec = await container.exec({
    Cmd: [...command],
    Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    AttachStdout: true,
    AttachStderr: true,
  });
  const stream = await exec.start({ hijack: true, stdin: false });
  const merged = new PassThrough();
  const chunks: Buffer[] = [];
  merged.on('data', (chunk: Buffer) => chunks.push(chunk));
  container.modem.demuxStream(stream, merged, merged);
  await new Promise<void>((resolve, reject) => {
    stream.once('end', resolve);
    stream.once('close', resolve);
    stream.once('error', reject);
  });
  let inspected = await exec.inspect();
  while (inspected.Running) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    inspected = await exec.inspect();
  }
  return { exitCode: inspected.ExitCode ?? -1, output: Buffer.concat(chunks).toString() };
}

type Script = keyof TaskservDefinition['scripts'];

/**
 * Runs one script of a definition on a host; its config file is put there first.
 * @param more of its environment, such as what a member of a service across servers is told.
 */
export async function attemptScript(
  host: Host,
  definition: TaskservDefinition,
  script: Script,
  config: Record<string, unknown> = {},
  more: Record<string, string> = {},
): Promise<Outcome> {
  const { version: wanted, ...own } = config;
  const version = resolveVersion(definition, wanted);
  const { values } = await resolveConfig(definition, own, sharedBudget('test'));
  const { env, configFile } = renderScripts(definition, version, values);
  await host.put(configFile.path, configFile.content, '0600');
  const file = `/run/${definition.name}-${script}`;
  await host.put(file, definition.scripts[script] ?? '', '0700');
  return host.attempt([file], { env: { ...env, ...more } });
}

/** As `attemptScript`, for a script that must succeed. @throws with its output */
export async function runScript(
  host: Host,
  definition: TaskservDefinition,
  script: Script,
  config: Record<string, unknown> = {},
  more: Record<string, string> = {},
): Promise<string> {
  const { exitCode, output } = await attemptScript(host, definition, script, config, more);
  if (exitCode === 0) return output;
  throw new Error(`${host.name}: ${script} of ${definition.name} exited with ${exitCode}:\n${output}`);
}

/**
 * Installs and checks a taskserv with everything it requires.
 * @param configs by name; none for one that is left out
 */
export async function install(
  host: Host,
  catalog: Catalog,
  name: string,
  configs: Record<string, Record<string, unknown>> = {},
): Promise<{ definition: TaskservDefinition; order: TaskservDefinition[]; output: string }> {
  const order = resolveOrder(catalog.definitions, [name]);
  let output = '';
  for (const definition of order) {
    output += await runScript(host, definition, 'install', configs[definition.name]);
    output += await runScript(host, definition, 'check', configs[definition.name]);
  }
  const definition = order.at(-1);
  if (definition === undefined) throw new Error(`nothing to install for ${name}`);
  return { definition, order, output };
}

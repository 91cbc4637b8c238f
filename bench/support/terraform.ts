/** Terraform with nothing but its built-in provider, which needs no network: the floor of `bench workflows`. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** Bytes of output: a line or more for each resource. */
const MAX_OUTPUT = 256 * 1_024 * 1_024;

export interface Terraform extends AsyncDisposable {
  /** Applies all; the input of one resource is `value`. @returns seconds. */
  apply(value: string): Promise<number>;
}

/** Terraform, or OpenTofu in its place, on the search path; null where there is neither. */
export async function findTerraform(): Promise<string | null> {
  for (const binary of ['terraform', 'tofu']) {
    const isThere = await run(binary, ['version'], { env: environment() }).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return false;
        throw error;
      },
    );
    if (isThere) return binary;
  }
  return null;
}

/** A directory with `count` resources, initialised and not applied yet. */
export async function terraformOf(binary: string, count: number): Promise<Terraform> {
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-terraform-'));
  const options = { cwd: directory, env: environment(), maxBuffer: MAX_OUTPUT };
  await writeFile(path.join(directory, 'main.tf'), configuration(count));
  await run(binary, ['init', '-no-color', '-input=false'], options);
  return {
    async apply(value) {
      const begun = performance.now();
      const flags = ['-auto-approve', '-no-color', '-input=false', '-parallelism=100', `-var=value=${value}`];
      await run(binary, ['apply', ...flags], options);
      return (performance.now() - begun) / 1_000;
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

function configuration(count: number): string {
  return `variable "value" {
  type = string
}
resource "terraform_data" "node" {
  count = ${count}
  input = count.index == 0 ? var.value : tostring(count.index)
}
`;
}

/** Without the user's own settings of terraform. */
function environment(): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('TF_'));
  return { ...Object.fromEntries(inherited), TF_CLI_CONFIG_FILE: '/dev/null', CHECKPOINT_DISABLE: '1' };
}

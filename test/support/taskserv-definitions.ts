import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** Writes a definition of a workspace's own into a server's data directory. @param more further lines of its YAML. */
export async function defineTaskserv(
  dataDir: string,
  workspace: string,
  name: string,
  scripts: Record<'install' | 'check' | 'remove', string> &
    Partial<Record<'admit' | 'drain' | 'resume' | 'kubeconfig', string>>,
  more = '',
): Promise<void> {
  const directory = path.join(dataDir, 'workspaces', workspace, 'taskservs', name);
  await mkdir(directory, { recursive: true });
  const definition = `name: ${name}\nsummary: For a test\nversions: { default: "1", supported: ["1", "2"] }\nplatforms: [debian-12, ubuntu-22.04, ubuntu-24.04]\n${more}`;
  await writeFile(path.join(directory, 'taskserv.yaml'), definition);
  for (const [script, text] of Object.entries(scripts)) {
    await writeFile(path.join(directory, `${script}.sh`), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
}

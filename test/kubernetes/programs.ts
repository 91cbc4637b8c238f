/** The programs of a Kubernetes cluster, as test/kubernetes/build makes them. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { needs, skipped } from '../support/needs.ts';

const BUILD = path.join(import.meta.dirname, 'build');

export interface Programs {
  /** Where they lie, by their names. */
  directory: string;
  /** Of Kubernetes, as in "1.28.0". */
  version: string;
  /** As Go and the vendor call it. */
  architecture: string;
}

/** For `skip` of a test: why the programs cannot be built and run here; false: they can. */
export function wantsForPrograms(): string | false {
  if (process.getuid?.() !== 0) return skipped('needs root');
  return needs('go', 'bash', 'tar');
}

/** Builds them where they are not there. */
export async function buildPrograms(): Promise<Programs> {
  const { stdout } = await promisify(execFile)(BUILD, { maxBuffer: 10_000_000 });
  const directory = stdout.trim();
  const [version = ''] = path.basename(directory).split('-');
  return { directory, version, architecture: process.arch === 'x64' ? 'amd64' : process.arch };
}

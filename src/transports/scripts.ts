import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from '../root.ts';

const FOLDER = path.join(ROOT, 'src/transports/scripts');

/** A script of ours for hosts, without the comment that it begins with: each run sends it. */
export function readScript(name: string): string {
  return readFileSync(path.join(FOLDER, `${name}.sh`), 'utf8').replace(/^(#.*\n)+\n/, '');
}

import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';

/** Debian's package of each program that tests run beyond Node and npm. */
const PACKAGES = {
  age: 'age',
  'age-keygen': 'age',
  bash: 'bash',
  'cloud-init': 'cloud-init',
  curl: 'curl',
  fish: 'fish',
  go: 'golang-go',
  jq: 'jq',
  openssl: 'openssl',
  ps: 'procps',
  python3: 'python3',
  script: 'bsdutils',
  shellcheck: 'shellcheck',
  sshd: 'openssh-server',
  tar: 'tar',
  unshare: 'util-linux',
  zsh: 'zsh',
};

export type Program = keyof typeof PACKAGES;

/** The path of a program: on PATH, or for sshd where daemons are, which is not on everyone's PATH. Null where it is not. */
export function findProgram(name: Program): string | null {
  const places = (process.env.PATH ?? '').split(path.delimiter).filter((place) => place !== '');
  if (name === 'sshd') places.push('/usr/sbin', '/sbin');
  return places.map((place) => path.resolve(place, name)).find(isProgram) ?? null;
}

/**
 * For `skip` of a test: false where all the programs are, else what is missing and how to get it.
 * @throws where PROVISIONING_TEST_NO_SKIP is set.
 */
export function needs(...programs: Program[]): string | false {
  const missing = programs.filter((program) => findProgram(program) === null);
  if (missing.length === 0) return false;
  const packages = missing.map((program) => PACKAGES[program]);
  return skipped(`needs ${missing.join(' and ')} (Debian: apt-get install ${packages.join(' ')})`);
}

/** The reason of a skip as it is. @throws it where PROVISIONING_TEST_NO_SKIP is set: there nothing may be missing. */
export function skipped(reason: string): string {
  if (process.env.PROVISIONING_TEST_NO_SKIP) throw new Error(`PROVISIONING_TEST_NO_SKIP is set, but a test ${reason}.`);
  return reason;
}

/** Whether a test was skipped for something that the machine lacks. What a provider cannot do is skipped everywhere. */
export function isSkippedForWant(skip: string | boolean | undefined): boolean {
  return skip === true || (typeof skip === 'string' && !skip.startsWith('this provider'));
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

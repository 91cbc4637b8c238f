import { createHash } from 'node:crypto';

/** A POSIX shell by any of its names, without arguments. */
const POSIX_SHELL = /^(\/usr)?\/bin\/(env )?(da)?sh$/;

/** A program for a POSIX shell. One whose first line names another interpreter is written to a file and run by that. */
export function asShell(program: string): string {
  const interpreter = /^#!\s*(\S.*)/.exec(program)?.[1]?.trim();
  if (interpreter === undefined || POSIX_SHELL.test(interpreter)) return program;
  // A line that the program cannot hold, as it depends on the whole of it.
  const end = `END-${createHash('sha256').update(program).digest('hex')}`;
  return `program=$(mktemp) || exit 125
trap 'rm -f "$program"' EXIT
cat >"$program" <<'${end}'
${program}
${end}
${interpreter} "$program"
`;
}

/** The command line inside this process: for tests that run very many commands. */
import { addCommands, COMMANDS, createProgram, runProgram } from '../../src/cli/program.ts';
import type { Terminal } from '../../src/cli/terminal.ts';
import type { Run } from './support.ts';

type Typed = string | ((noted: string) => string | Promise<string>);

interface InProcess {
  run(args: string[], input?: string): Promise<Run>;
  /** What is typed at the next questions, also as a function of what the command has noted so far. */
  answers(...lines: Typed[]): void;
  /** Names of the commands that ended with 0. */
  ran: Set<string>;
}

export function createInProcess(environment: NodeJS.ProcessEnv): InProcess {
  const ran = new Set<string>();
  const typed: Typed[] = [];
  return {
    ran,
    answers: (...lines) => void typed.push(...lines),
    async run(args, input = '') {
      let stdout = '';
      let stderr = '';
      const terminal: Terminal = {
        out: (text) => {
          stdout += text;
        },
        drained: async () => {},
        note: (line) => {
          stderr += `${line}\n`;
        },
        status: () => {},
        paint: (_, text) => text,
        ask: async () => {
          const line = typed.shift() ?? '';
          return typeof line === 'function' ? line(stderr) : line;
        },
        readAll: async () => input,
      };
      const program = createProgram('0.0.0');
      addCommands(program, terminal, environment);
      const status = await runProgram(program, args, terminal, environment);
      if (status === 0) {
        const name = COMMANDS.map((command) => command.name)
          .filter((candidate) => args.join(' ').startsWith(candidate))
          .sort((a, b) => b.length - a.length)[0];
        if (name !== undefined) ran.add(name);
      }
      return { status, stdout, stderr };
    },
  };
}

import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { EXIT, UsageError } from './errors.ts';

/** The program's surroundings, so that tests and other programs can give their own. */
export interface Terminal {
  /** Data, and nothing else. */
  out(text: string): void;
  /** Resolves when the reader has taken what was written, so that writing faster than it reads fills no memory. */
  drained(): Promise<void>;
  /** Progress, questions, errors. */
  note(line: string): void;
  /** Progress that the next one replaces, without colours; nothing where no person looks on. */
  status(line: string): void;
  paint(color: Color, text: string): string;
  /** @throws UsageError where nobody can answer. */
  ask(question: string, options?: { hidden?: boolean }): Promise<string>;
  readAll(): Promise<string>;
}

type Color = 'green' | 'red' | 'yellow' | 'dim';
const CODES: Record<Color, number> = { green: 32, red: 31, yellow: 33, dim: 2 };
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const BACKSPACE = ['\u0008', '\u007f'];

export function createTerminal(environment: NodeJS.ProcessEnv): Terminal {
  const { stdin, stdout, stderr } = process;
  const color = stderr.isTTY === true && (environment.NO_COLOR ?? '') === '' && environment.TERM !== 'dumb';
  let transient = false;
  // Whoever reads has seen enough: `provisioning operation list | head`.
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.done);
    throw error;
  });
  const clear = () => {
    if (transient) stderr.write('\r\u001b[K');
    transient = false;
  };
  return {
    out: (text) => {
      clear();
      stdout.write(text);
    },
    async drained() {
      if (stdout.writableNeedDrain) await once(stdout, 'drain');
    },
    note: (line) => {
      clear();
      stderr.write(`${line}\n`);
    },
    status: (line) => {
      if (stderr.isTTY !== true || environment.TERM === 'dumb') return;
      stderr.write(`\r\u001b[K${line.slice(0, (stderr.columns || 80) - 1)}`);
      transient = true;
    },
    paint: (name, text) => (color ? `\u001b[${CODES[name]}m${text}\u001b[0m` : text),
    async ask(question, { hidden = false } = {}) {
      if (stdin.isTTY !== true)
        throw new UsageError(`Cannot ask "${question.trim()}": standard input is not a terminal.`);
      return readLine(question, hidden);
    },
    readAll: () => readAll(stdin),
  };
}

/** One line from the terminal; what is typed into a hidden one is not shown. */
async function readLine(question: string, hidden: boolean): Promise<string> {
  const { stdin, stderr } = process;
  let line = '';
  // Before the question: what is typed must not be shown by the terminal itself, however early it comes.
  stdin.setRawMode(true);
  stdin.setEncoding('utf8').resume();
  stderr.write(question);
  try {
    for await (const chunk of stdin.iterator({ destroyOnReturn: false })) {
      for (const character of String(chunk)) {
        if (character === '\r' || character === '\n' || character === CTRL_D) {
          stderr.write('\n');
          return line;
        }
        if (character === CTRL_C) {
          process.kill(process.pid, 'SIGINT');
          return line;
        }
        if (BACKSPACE.includes(character)) {
          if (!hidden && line !== '') stderr.write('\b \b');
          line = line.slice(0, -1);
        } else {
          line += character;
          if (!hidden) stderr.write(character);
        }
      }
    }
    return line;
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
  }
}

async function readAll(stream: Readable): Promise<string> {
  let content = '';
  for await (const chunk of stream) content += String(chunk);
  return content;
}

/** What a command is: data, from which the command line, its help, its completion and its manual page are made. */
import type { Session } from './session.ts';

/** What a word names, so that completion can ask the server for it. */
export type NameKind =
  | 'server'
  | 'taskserv'
  | 'workspace'
  | 'username'
  | 'operation'
  | 'workflow'
  | 'workflow-type'
  | 'catalog'
  | 'provider'
  | 'plan'
  | 'zone';

export interface CommandOption {
  /** As commander reads it: `--plan <name>`, `--force`. */
  flags: string;
  description: string;
  choices?: readonly string[];
  default?: string;
  required?: boolean;
  /** May be given several times; then its value is a list. */
  repeatable?: boolean;
  names?: NameKind;
}

export interface CommandArgument {
  name: string;
  description: string;
  optional?: boolean;
  variadic?: boolean;
  names?: NameKind;
  /** All there are. */
  values?: readonly string[];
}

/** Values of the options by their long name in camel case. */
export type OptionValues = Record<string, string | boolean | string[] | undefined>;

export interface CommandDefinition {
  /** The words that call it: `server create`. */
  name: string;
  summary: string;
  description?: string;
  /** Complete command lines. */
  examples: readonly string[];
  arguments?: readonly CommandArgument[];
  options?: readonly CommandOption[];
  /** The requests of the API it stands for: `POST /v1/servers/create`. */
  covers: readonly string[];
  /** What it prints is a text of its own, so that it has no `--output`; why. */
  plain?: string;
  /** Sets off an operation, so that it has `--wait`, `--cancel-on-interrupt` and `--idempotency-key`. */
  operation?: boolean;
  /** Waits for an operation, so that it has `--cancel-on-interrupt`. */
  waits?: boolean;
  run(session: Session, args: string[], options: OptionValues): Promise<void>;
}

/** The value of an option that takes text. */
export function text(options: OptionValues, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

/** The values of an option that may be given several times. */
export function texts(options: OptionValues, name: string): string[] | undefined {
  const value = options[name];
  return Array.isArray(value) ? value : undefined;
}

/** Leaves out what was not given, so that it does not reach the API as a field. */
export function given<T extends Record<string, unknown>>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

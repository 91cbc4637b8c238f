import type { Client, Operation } from '../sdk/client.ts';
import type { View } from './output.ts';
import type { Terminal } from './terminal.ts';

/** What a command works with: a client that is logged in, and where its answers go. */
export interface Session {
  terminal: Terminal;
  environment: NodeJS.ProcessEnv;
  /** The file with the contexts. */
  configFile: string;
  /** @throws UsageError when no server is known. */
  client(): Promise<Client>;
  rows(rows: readonly object[], view: View): void;
  /** Prints rows as they come, however many: what waits in memory is one page. @returns how many there were. */
  stream(rows: AsyncIterable<object>, view: View): Promise<number>;
  record(record: object, view: { name: string }): void;
  /** Tells a person that it is done; the record is for programs: it is printed where a format was asked for. */
  done(message: string, record: object, view: { name: string }): void;
  /** Shows the operation live until it has ended. @throws InterruptedError */
  follow(started: Operation): Promise<Operation>;
  /** Follows the operation until its end unless told not to, and prints it. @throws OperationFailedError */
  operation(started: Operation): Promise<Operation>;
  /** Asks before something is destroyed. @throws UsageError when the answer is not yes. */
  confirm(question: string): Promise<void>;
  /** For requests whose caller wants to send them again safely. */
  idempotency(): { idempotencyKey?: string };
}

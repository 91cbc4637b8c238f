/** What a script hands out to another host, told apart from its output by a mark that nothing it prints can hold. */
import { randomUUID } from 'node:crypto';

/** Facts of one run at most, and bytes of all their values. */
const MAX_FACTS = 50;
const MAX_BYTES = 65_536;
const NAME = /^[A-Z][A-Z0-9_]{0,62}$/;

/** Collects facts out of the lines of a run: the library's `fact` writes `<mark> <NAME> <value in base64>`. */
export function createFactReader() {
  const mark = `fact-${randomUUID()}`;
  const facts: Record<string, string> = {};
  let problem: string | null = null;
  let bytes = 0;
  let taken = 0;
  return {
    /** Goes to the script as FACT_MARK. */
    mark,
    facts,
    /** Why not all that was handed out has been taken; null: it has. */
    problem: () => problem,
    /** Whether the line was a fact, which must not be told. */
    take(text: string): boolean {
      if (!text.includes(mark)) return false;
      const [before, name = '', value = '', ...rest] = text.split(' ');
      bytes += value.length;
      taken += 1;
      if (before !== mark || !NAME.test(name) || rest.length > 0) {
        problem = 'handed out a fact without a name like JOIN_TOKEN';
      } else if (bytes > MAX_BYTES || taken > MAX_FACTS) {
        problem = `handed out more than ${MAX_FACTS} facts or ${MAX_BYTES} bytes`;
      } else facts[name] = Buffer.from(value, 'base64').toString();
      return true;
    },
  };
}

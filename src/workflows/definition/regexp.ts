import { notePlace, spend, textUnits } from '../../evaluation/meter.ts';

/** Characters of a pattern that a message names. */
const NAMED = 80;

/**
 * A regular expression out of a user's definition. One such as `(a+)+$` may take for ever: it is matched in a thread that
 * is ended then, and this says for which pattern.
 */
export function evaluatedRegExp(pattern: string, flags: string): { test(text: string): boolean } {
  const expression = new RegExp(pattern, flags);
  return {
    test(text) {
      spend(textUnits(text.length));
      notePlace(`the pattern ${pattern.slice(0, NAMED)} of a parameter`);
      return expression.test(text);
    },
  };
}
evaluatedRegExp.code = 'evaluatedRegExp';

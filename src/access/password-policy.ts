import { errors } from '../errors.ts';
import { atFirstUse } from '../util/at-first-use.ts';

/** Of a user name that a password must not hold: shorter ones occur in any text. Characters. */
const MIN_NAME = 3;
/** The library's score from 0 to 4: 3 is some 10⁸ guesses or more for a cracker that knows lists, names and patterns. */
const MIN_SCORE = 3;
/** What people make passwords of for this system, besides what the lists hold. */
const OWN_WORDS = ['provisioning', 'administrator'];
/** What the library looks at of a password: what it costs grows faster than the length. Characters. */
const JUDGED_LENGTH = 32;
/** Spellings such as `p4$$word` that it tries. */
const SUBSTITUTIONS = 16;

/** The lists of common and breached passwords take megabytes, and a tenth of a second to load. */
const judge = atFirstUse(async () => {
  const [{ ZxcvbnFactory }, common] = await Promise.all([
    import('@zxcvbn-ts/core'),
    import('@zxcvbn-ts/language-common'),
  ]);
  return new ZxcvbnFactory({
    dictionary: common.dictionary,
    graphs: common.adjacencyGraphs,
    maxLength: JUDGED_LENGTH,
    l33tMaxSubstitutions: SUBSTITUTIONS,
  });
});

/** What is wrong with a new password of this user; null: nothing. @param minLength characters. */
export async function weakness(password: string, username: string, minLength: number): Promise<string | null> {
  if (password.length < minLength) return `must have at least ${minLength} characters`;
  const name = username.toLowerCase();
  if (name.length >= MIN_NAME && password.toLowerCase().includes(name)) return 'must not hold the user name';
  const { score } = (await judge()).check(password, [username, ...username.split(/[._-]/), ...OWN_WORDS]);
  return score < MIN_SCORE
    ? 'is too easy to guess: it is made of common or breached passwords, or of a pattern. Take some words that have nothing to do with each other'
    : null;
}

/** @param field that it was given in. @throws 400 */
export async function requireStrong(
  field: string,
  password: string,
  username: string,
  minLength: number,
): Promise<void> {
  const message = await weakness(password, username, minLength);
  if (message !== null) throw errors.validation([{ field, message }]);
}

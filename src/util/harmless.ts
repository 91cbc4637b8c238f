/**
 * Text that hosts, clouds and receivers of webhooks wrote, made fit to be stored and shown. Postgres stores no NUL in a
 * text, and neither NUL nor half a surrogate pair in JSON; a terminal obeys the escape sequences that are printed to it.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const SUSPECT = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
/** Sequences that move, paint or command: CSI in both forms; OSC, DCS, SOS, PM and APC up to their end; two letters. */
const SEQUENCES =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b[\]PX^_]|[\u0090\u0098\u009d-\u009f])(?:[^\u0007\u001b\u009c\n]*(?:\u0007|\u001b\\|\u009c))?|\u001b[ -/]*[0-~]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]|\r(?!\n)/g;
/** U+2400 stands for NUL, and so on up to U+241F; U+2421 stands for DEL. */
const PICTURES = 0x24_00;
const DELETE = 0x7f;

/**
 * The text without terminal sequences, and with a visible sign (␀, ␇, …) for each control character other than tabs and
 * line ends. Half a surrogate pair becomes U+FFFD. The same again changes nothing.
 */
export function harmlessText(text: string): string {
  if (!SUSPECT.test(text)) return text.toWellFormed();
  return text.replace(SEQUENCES, '').replace(CONTROLS, visible).toWellFormed();
}

/** A line of output as a terminal shows it in the end: what follows the last CR, where there is something. */
export function harmlessLine(line: string): string {
  const states = line.includes('\r') ? line.split('\r').filter((state) => state !== '') : [line];
  return harmlessText(states.at(-1) ?? '');
}

function visible(character: string): string {
  const code = character.charCodeAt(0);
  if (code > DELETE) return '\uFFFD';
  return String.fromCharCode(PICTURES + (code === DELETE ? 0x21 : code));
}

/** How JSON.stringify writes what `harmlessText` would change. */
const SUSPECT_JSON = /\\u00[01]|\\[bf]|\\r(?!\\n)|\\ud[89a-f]|[\u007f-\u009f]/i;

/** JSON text for a column, with harmless texts in it. */
export function harmlessJson(value: unknown): string {
  const json = JSON.stringify(value);
  // Walking costs; hardly any value has something in it. A backslash that was in the text may look as if.
  return SUSPECT_JSON.test(json) ? JSON.stringify(withHarmlessTexts(JSON.parse(json))) : json;
}

function withHarmlessTexts(value: unknown): unknown {
  if (typeof value === 'string') return harmlessText(value);
  if (Array.isArray(value)) return value.map(withHarmlessTexts);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [harmlessText(name), withHarmlessTexts(field)]),
  );
}

import { spend, textUnits } from '../../evaluation/meter.ts';

/** Up to this length the built-in search is at worst that many times slower than reading the text once. */
const SHORT = 64;

/**
 * Where `part` stands in `text`, one behind the other, or with `overlapping` at every place. Takes the sum of both lengths: the
 * built-in search takes their product where a long part nearly fits everywhere, minutes for a million characters, and
 * cannot be interrupted.
 */
export function* occurrences(text: string, part: string, overlapping = false): Generator<number, void> {
  if (part === '') return;
  const step = overlapping ? 1 : part.length;
  spend(textUnits(text.length + part.length));
  if (part.length <= SHORT) {
    for (let at = text.indexOf(part); at !== -1; at = text.indexOf(part, at + step)) {
      spend(1);
      yield at;
    }
    return;
  }
  // Knuth, Morris and Pratt.
  spend(text.length + part.length);
  const borders = bordersOf(part);
  let fits = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    while (fits > 0 && code !== part.charCodeAt(fits)) fits = borders[fits - 1] ?? 0;
    if (code === part.charCodeAt(fits)) fits += 1;
    if (fits < part.length) continue;
    yield at - part.length + 1;
    fits = overlapping ? (borders.at(-1) ?? 0) : 0;
  }
}

/** For each beginning of the part the length of its longest other beginning that it ends with. */
function bordersOf(part: string): Int32Array {
  const borders = new Int32Array(part.length);
  let length = 0;
  for (let at = 1; at < part.length; at += 1) {
    const code = part.charCodeAt(at);
    while (length > 0 && code !== part.charCodeAt(length)) length = borders[length - 1] ?? 0;
    if (code === part.charCodeAt(length)) length += 1;
    borders[at] = length;
  }
  return borders;
}

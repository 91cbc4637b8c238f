/** Keywords of JSON Schema that reach beyond their own place or answer later. What users write needs none of them. */
const REFUSED = ['$ref', '$dynamicRef', '$recursiveRef', '$id', '$async'];

/** The first of them that a schema holds, as a sentence about the schema; null: it holds none. */
export function refusedKeyword(schema: object): string | null {
  const text = JSON.stringify(schema);
  const found = REFUSED.find((keyword) => text.includes(`"${keyword}":`));
  return found === undefined ? null : `${found} is not supported`;
}

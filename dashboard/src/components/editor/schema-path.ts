/** What of a JSON Schema holds at a place of a document. */
export interface SchemaNode {
  type?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  description?: string;
  properties?: Record<string, SchemaNode>;
  patternProperties?: Record<string, SchemaNode>;
  required?: string[];
  items?: SchemaNode;
  anyOf?: SchemaNode[];
  oneOf?: SchemaNode[];
}

/** The schema with all its alternatives, each by itself. */
function alternatives(schema: SchemaNode): SchemaNode[] {
  return [schema, ...[...(schema.anyOf ?? []), ...(schema.oneOf ?? [])].flatMap(alternatives)];
}

/** Every schema that the value at this path may fit. */
export function schemasAt(root: SchemaNode, path: readonly (string | number)[]): SchemaNode[] {
  let found = alternatives(root);
  for (const part of path) {
    found = found.flatMap((schema) => {
      if (typeof part === 'number') return schema.items === undefined ? [] : alternatives(schema.items);
      const own = schema.properties?.[part];
      const matching = Object.entries(schema.patternProperties ?? {}).filter(([pattern]) =>
        new RegExp(pattern).test(part),
      );
      return [...(own === undefined ? [] : [own]), ...matching.map(([, one]) => one)].flatMap(alternatives);
    });
  }
  return found;
}

/** The values that these schemas name. */
export function valuesOf(schemas: readonly SchemaNode[]): string[] {
  const values = schemas.flatMap((schema) => [
    ...(schema.enum ?? []),
    ...(schema.const === undefined ? [] : [schema.const]),
    ...(schema.type === 'boolean' ? [true, false] : []),
  ]);
  return [...new Set(values.map(String))];
}

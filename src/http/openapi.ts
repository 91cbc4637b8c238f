/** An OpenAPI document as the generator makes it: plain JSON. */
type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Finishes the generated document: schemas with a title become components that are referred to by name, and bodies
 * that may be absent are not called required.
 */
export function finishOpenApi(generated: object): object {
  const document = JSON.parse(JSON.stringify(generated)) as JsonObject;
  const schemas: JsonObject = {};
  for (const path of Object.values(isObject(document.paths) ? document.paths : {})) {
    for (const operation of Object.values(isObject(path) ? path : {})) {
      if (isObject(operation) && isObject(operation.requestBody)) relaxBody(operation.requestBody);
    }
  }
  document.paths = nameSchemas(document.paths ?? {}, schemas);
  const components = isObject(document.components) ? document.components : {};
  document.components = { ...components, schemas };
  return document;
}

function relaxBody(body: JsonObject): void {
  const content = isObject(body.content) ? body.content['application/json'] : undefined;
  const schema = isObject(content) ? content.schema : undefined;
  if (!isObject(schema)) return;
  const choices = Array.isArray(schema.anyOf) ? schema.anyOf : [schema];
  const mayBeNull = (choice: Json) => isObject(choice) && [choice.type].flat().includes('null');
  if (choices.some(mayBeNull)) body.required = false;
}

function nameSchemas(value: Json, schemas: JsonObject): Json {
  if (Array.isArray(value)) return value.map((item) => nameSchemas(item, schemas));
  if (!isObject(value)) return value;
  const walked: JsonObject = Object.fromEntries(
    Object.entries(value).map(([key, child]) => [key, nameSchemas(child, schemas)]),
  );
  const { title } = walked;
  if (walked.type !== 'object' || typeof title !== 'string') return walked;
  const known = schemas[title];
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(walked)) {
    throw new Error(`Two different schemas are titled "${title}".`);
  }
  schemas[title] = walked;
  return { $ref: `#/components/schemas/${title}` };
}

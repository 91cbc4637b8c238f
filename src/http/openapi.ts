import { isObject, type Json, type JsonObject } from '../documents/json.ts';
import { capitalized } from '../util/capitalized.ts';

/** The body of requests that take nothing but `check_mode`. */
const CHECK_BODY = 'CheckModeRequest';

/**
 * Finishes the generated document: schemas with a title become components that are referred to by name, bodies and
 * answers without one are named after their operation, and bodies that may be absent are not called required.
 */
export function finishOpenApi(generated: object): object {
  const document = JSON.parse(JSON.stringify(generated)) as JsonObject;
  const schemas: JsonObject = {};
  for (const path of Object.values(isObject(document.paths) ? document.paths : {})) {
    for (const operation of Object.values(isObject(path) ? path : {})) {
      if (!isObject(operation)) continue;
      nameBodies(operation);
      if (isObject(operation.requestBody)) relaxBody(operation.requestBody);
    }
  }
  document.paths = nameSchemas(document.paths ?? {}, schemas);
  const components = isObject(document.components) ? document.components : {};
  document.components = { ...components, schemas };
  return document;
}

/** Titles what an operation takes and answers, where it is an object without one. */
function nameBodies({ operationId, requestBody, responses }: JsonObject): void {
  if (typeof operationId !== 'string') return;
  const name = capitalized(operationId);
  const body = objectIn(schemaOf(requestBody));
  const fields = isObject(body?.properties) ? Object.keys(body.properties) : [];
  if (body !== undefined) body.title ??= fields.join() === 'check_mode' ? CHECK_BODY : `${name}Request`;
  const answer = objectIn(schemaOf(isObject(responses) ? responses['200'] : undefined));
  if (answer !== undefined) answer.title ??= `${name}Response`;
}

function schemaOf(holder: Json | undefined): Json | undefined {
  const content = isObject(holder) && isObject(holder.content) ? holder.content['application/json'] : undefined;
  return isObject(content) ? content.schema : undefined;
}

/** The schema itself where it is one of an object, or the one that it lets be absent. */
function objectIn(schema: Json | undefined): JsonObject | undefined {
  if (!isObject(schema)) return undefined;
  const choices = Array.isArray(schema.anyOf) ? schema.anyOf : [schema];
  return choices.find((choice): choice is JsonObject => isObject(choice) && isOfObjects(choice));
}

const isOfObjects = ({ type }: JsonObject) => [type].flat().includes('object');

function relaxBody(body: JsonObject): void {
  const schema = schemaOf(body);
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
  if (!isOfObjects(walked) || typeof title !== 'string') return walked;
  const known = schemas[title];
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(walked)) {
    throw new Error(`Two different schemas are titled "${title}".`);
  }
  schemas[title] = walked;
  return { $ref: `#/components/schemas/${title}` };
}

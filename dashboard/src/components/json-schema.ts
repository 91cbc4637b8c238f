import { type OutputUnit, type Schema, Validator } from '@cfworker/json-schema';

/** What we read of a JSON Schema. */
export interface FieldSchema {
  type?: string | string[];
  enum?: unknown[];
  default?: unknown;
  description?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  pattern?: string;
  items?: FieldSchema;
  properties?: Record<string, FieldSchema>;
  required?: string[];
  secret?: boolean;
}

/** The kind of a value, of those that a schema allows. */
export function typeOf({ type }: FieldSchema): string | undefined {
  return Array.isArray(type) ? type.find((one) => one !== 'null') : type;
}

/**
 * What is wrong with an object, by the name of the field, in the words of a form. Only of fields that are filled in:
 * what is missing is told by the button that stays closed (`missingOf`).
 */
export function problemsOf(schema: FieldSchema, values: Record<string, unknown>): Record<string, string> {
  // Not compiled: a page that may not evaluate text cannot.
  const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  const { errors } = new Validator(schema as Schema, '7', false).validate(given);
  const problems: Record<string, string> = {};
  for (const error of errors) {
    const field = error.instanceLocation.split('/')[1];
    if (field === undefined || field in problems || !(field in given)) continue;
    const message = messageOf(error, schema.properties?.[field]);
    if (message !== null) problems[field] = message;
  }
  return problems;
}

/** Required fields that are empty. */
export function missingOf({ required = [] }: FieldSchema, values: Record<string, unknown>): string[] {
  return required.filter((name) => values[name] === undefined || values[name] === '');
}

/** Null for what only says that something inside is wrong. */
function messageOf({ keyword }: OutputUnit, field: FieldSchema | undefined): string | null {
  // Of a list's elements, the element's schema says what is right.
  const schema = field?.pattern === undefined && field?.items?.pattern !== undefined ? field.items : field;
  switch (keyword) {
    case 'properties':
    case 'items':
      return null;
    case 'pattern':
      return schema?.description ?? `Must match ${schema?.pattern}.`;
    case 'minimum':
      return `At least ${field?.minimum}.`;
    case 'maximum':
      return `At most ${field?.maximum}.`;
    case 'minLength':
      return `At least ${schema?.minLength} characters.`;
    case 'maxLength':
      return `At most ${schema?.maxLength} characters.`;
    case 'minItems':
      return `At least ${field?.minItems}.`;
    case 'maxItems':
      return `At most ${field?.maxItems}.`;
    case 'uniqueItems':
      return 'Each only once.';
    case 'enum':
      return `One of ${field?.enum?.join(', ')}.`;
    case 'type':
      return `Must be of the type ${field === undefined ? 'that the schema tells' : typeOf(field)}.`;
    default:
      return 'Is not what the schema asks for.';
  }
}

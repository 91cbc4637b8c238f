import {
  MultiSelect,
  NumberInput,
  PasswordInput,
  Select,
  Stack,
  Switch,
  TagsInput,
  Textarea,
  TextInput,
} from '@mantine/core';
import type { ReactNode } from 'react';
import { ApiError } from '../../../src/sdk/client.ts';
import { type FieldSchema, problemsOf, typeOf } from './json-schema.ts';

/** A longer text gets room. Characters. */
const LONG_TEXT = 1_000;

/** What a field may be chosen from, where the schema does not say: names that the server knows. */
export interface Choice {
  options: readonly (string | { value: string; label: string })[];
  /** Nothing can be chosen yet. */
  disabled?: boolean;
}

interface SchemaFormProps {
  /** Of the object. */
  schema: FieldSchema;
  values: Record<string, unknown>;
  onChange: (values: Record<string, unknown>) => void;
  choices?: Record<string, Choice>;
  /** What the server said. */
  error?: unknown;
  /** Where the object stands in what was sent, as in `config.`. */
  at?: string;
}

/**
 * A form made from a schema, checked while it is filled in. A field that is left alone is not sent: the server has the
 * defaults.
 */
export function SchemaForm({ schema, values, onChange, choices = {}, error, at = '' }: SchemaFormProps) {
  const problems = problemsOf(schema, values);
  const refused = error instanceof ApiError ? error.fields : [];
  return (
    <Stack gap="sm">
      {Object.entries(schema.properties ?? {}).map(([name, field]) => (
        <Field
          key={name}
          name={name}
          schema={field}
          choice={choices[name]}
          required={schema.required?.includes(name) ?? false}
          value={values[name]}
          error={problems[name] ?? refused.find((one) => one.field === `${at}${name}`)?.message}
          onChange={(value) => {
            const { [name]: _, ...others } = values;
            onChange(value === undefined ? others : { ...others, [name]: value });
          }}
        />
      ))}
    </Stack>
  );
}

interface FieldProps {
  name: string;
  schema: FieldSchema;
  choice: Choice | undefined;
  required: boolean;
  value: unknown;
  error: string | undefined;
  onChange: (value: unknown) => void;
}

/** `node_count` as a person would write it. */
function labelOf(name: string): string {
  const text = name.replaceAll('_', ' ');
  return (text.charAt(0).toUpperCase() + text.slice(1))
    .replace(/^Ip\b/, 'IP')
    .replace(/^Ssh\b/, 'SSH')
    .replace(/^Ttl\b/, 'TTL');
}

function Field({ name, schema, choice, required, value, error, onChange }: FieldProps) {
  const type = typeOf(schema);
  // With an error that says the same, it would be said twice.
  const description =
    schema.description === undefined || error === schema.description ? undefined : <Words of={schema.description} />;
  const common = { label: labelOf(name), description, required, error };
  const placeholder = schema.default === undefined ? undefined : placeholderOf(schema.default);
  const list = Array.isArray(value) ? value.map(String) : [];
  if (type === 'array' && choice !== undefined) {
    return (
      <MultiSelect
        {...common}
        searchable
        disabled={choice.disabled}
        data={choice.options}
        value={list}
        onChange={(chosen) => onChange(chosen.length === 0 ? undefined : chosen)}
      />
    );
  }
  const options = choice?.options ?? schema.enum?.map(String);
  if (options !== undefined) {
    return (
      <Select
        {...common}
        clearable={!required}
        searchable={options.length > 8}
        placeholder={placeholder}
        disabled={choice?.disabled}
        data={options}
        value={value === undefined ? null : String(value)}
        onChange={(chosen) => onChange(schema.enum?.find((one) => String(one) === chosen) ?? chosen ?? undefined)}
      />
    );
  }
  if (type === 'boolean') {
    const checked = typeof value === 'boolean' ? value : schema.default === true;
    return <Switch {...common} checked={checked} onChange={(event) => onChange(event.currentTarget.checked)} />;
  }
  if (type === 'integer' || type === 'number') {
    return (
      <NumberInput
        {...common}
        placeholder={placeholder}
        allowDecimal={type === 'number'}
        // Typed past them, it is said rather than changed.
        clampBehavior="none"
        min={schema.minimum}
        max={schema.maximum}
        value={typeof value === 'number' ? value : ''}
        onChange={(entered) => onChange(typeof entered === 'number' ? entered : undefined)}
      />
    );
  }
  if (type === 'array' && (schema.items?.type ?? 'string') === 'string') {
    return (
      <TagsInput
        {...common}
        placeholder={list.length === 0 ? (placeholder ?? 'Press Enter to add') : undefined}
        value={list}
        onChange={(entered) => onChange(entered.length === 0 ? undefined : entered)}
      />
    );
  }
  if (type === 'string' || type === undefined) {
    const text = {
      placeholder,
      value: typeof value === 'string' ? value : '',
      onChange: (event: { currentTarget: { value: string } }) => onChange(event.currentTarget.value || undefined),
    };
    if ((schema.maxLength ?? 0) > LONG_TEXT)
      return <Textarea {...common} {...text} autosize minRows={2} maxRows={12} />;
    const Input = schema.secret === true ? PasswordInput : TextInput;
    return <Input {...common} {...text} />;
  }
  return <JsonField {...common} value={value} onChange={onChange} />;
}

function placeholderOf(value: unknown): string | undefined {
  if (Array.isArray(value)) return value.join(', ') || undefined;
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** A description out of a schema: what stands between backticks is written as it would be typed. */
function Words({ of }: { of: string }) {
  // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one text have nothing else
  return of.split('`').map((part, n) => (n % 2 === 0 ? part : <code key={n}>{part}</code>));
}

interface JsonFieldProps {
  label: string;
  description: ReactNode;
  required: boolean;
  error: string | undefined;
  value: unknown;
  onChange: (value: unknown) => void;
}

/** Anything else is written as JSON. What is not yet JSON stays text, which the schema refuses. */
function JsonField({ value, onChange, ...common }: JsonFieldProps) {
  return (
    <Textarea
      {...common}
      autosize
      minRows={2}
      placeholder="JSON"
      className="mono"
      defaultValue={value === undefined ? '' : JSON.stringify(value)}
      onChange={(event) => {
        const entered = event.currentTarget.value.trim();
        try {
          onChange(entered === '' ? undefined : JSON.parse(entered));
        } catch {
          onChange(entered);
        }
      }}
    />
  );
}

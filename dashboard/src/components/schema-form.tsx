import { NumberInput, PasswordInput, Select, Stack, Switch, TagsInput, Textarea, TextInput } from '@mantine/core';

/** What we read of a JSON Schema. */
export interface FieldSchema {
  type?: string | string[];
  enum?: unknown[];
  default?: unknown;
  description?: string;
  minimum?: number;
  maximum?: number;
  items?: FieldSchema;
  secret?: boolean;
}

interface SchemaFormProps {
  properties: Record<string, FieldSchema>;
  required?: readonly string[];
  values: Record<string, unknown>;
  /** What is wrong with a field. */
  errorOf: (name: string) => string | undefined;
  onChange: (values: Record<string, unknown>) => void;
}

/** A form made from a schema. A field that is left alone is not sent: the server has the defaults. */
export function SchemaForm({ properties, required = [], values, errorOf, onChange }: SchemaFormProps) {
  return (
    <Stack gap="sm">
      {Object.entries(properties).map(([name, schema]) => (
        <Field
          key={name}
          name={name}
          schema={schema}
          required={required.includes(name)}
          value={values[name]}
          error={errorOf(name)}
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
  required: boolean;
  value: unknown;
  error: string | undefined;
  onChange: (value: unknown) => void;
}

function Field({ name, schema, required, value, error, onChange }: FieldProps) {
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== 'null') : schema.type;
  const common = { label: name, description: schema.description, required, error };
  const placeholder = schema.default === undefined ? undefined : String(schema.default);
  const text = typeof value === 'string' ? value : '';
  if (schema.enum !== undefined) {
    return (
      <Select
        {...common}
        clearable
        placeholder={placeholder}
        data={schema.enum.map(String)}
        value={value === undefined ? null : String(value)}
        onChange={(chosen) => onChange(schema.enum?.find((one) => String(one) === chosen))}
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
        min={schema.minimum}
        max={schema.maximum}
        value={typeof value === 'number' ? value : ''}
        onChange={(entered) => onChange(typeof entered === 'number' ? entered : undefined)}
      />
    );
  }
  if (type === 'array' && (schema.items?.type ?? 'string') === 'string') {
    const list = Array.isArray(value) ? value.map(String) : [];
    return (
      <TagsInput
        {...common}
        value={list}
        onChange={(entered) => onChange(entered.length === 0 ? undefined : entered)}
      />
    );
  }
  if (type === 'string' || type === undefined) {
    const Input = schema.secret === true ? PasswordInput : TextInput;
    const change = (entered: string) => onChange(entered === '' ? undefined : entered);
    return (
      <Input
        {...common}
        placeholder={placeholder}
        value={text}
        onChange={(event) => change(event.currentTarget.value)}
      />
    );
  }
  return <JsonField {...common} value={value} onChange={onChange} />;
}

/** Anything else is written as JSON. What is not yet JSON stays text, which the server refuses by name. */
function JsonField({
  value,
  onChange,
  ...common
}: Omit<FieldProps, 'name' | 'schema'> & { label: string; description: string | undefined }) {
  return (
    <Textarea
      {...common}
      autosize
      minRows={2}
      defaultValue={value === undefined ? '' : JSON.stringify(value)}
      onBlur={(event) => {
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

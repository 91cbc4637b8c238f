import { Button, Group, Modal, Stack, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { type FieldSchema, missingOf, problemsOf } from './json-schema.ts';
import { type Choice, SchemaForm } from './schema-form.tsx';
import { Failure } from './states.tsx';

interface FormDialogProps<R> {
  /** What the button that opens it says. */
  label: string;
  /** Its title, where it is another. */
  title?: string;
  about?: ReactNode;
  schema: FieldSchema;
  choices?: Record<string, Choice>;
  /** What the button that sends it says. */
  send: string;
  /** Sends it. The values fit the schema. */
  run: (values: Record<string, unknown>) => Promise<R>;
  /** Shown in place of the form when it has been sent; absent: the dialog closes. */
  answer?: (result: R) => ReactNode;
  variant?: 'filled' | 'default';
  onChange?: (values: Record<string, unknown>) => void;
  /** Further buttons, before the form. */
  children?: ReactNode;
}

/** A button that opens a form made from a schema. */
export function FormDialog<R>({ label, schema, send, run, answer, ...more }: FormDialogProps<R>) {
  const { title = label, about, choices, variant = 'filled', onChange, children } = more;
  const [opened, { open, close }] = useDisclosure();
  const [values, setValues] = useState<Record<string, unknown>>({});
  const mutation = useMutation({
    mutationFn: () => run(values),
    onSuccess: () => {
      setValues({});
      if (answer === undefined) close();
    },
  });
  const complete = missingOf(schema, values).length === 0 && Object.keys(problemsOf(schema, values)).length === 0;
  const leave = () => {
    close();
    mutation.reset();
  };
  const answered = mutation.isSuccess && answer !== undefined;
  return (
    <>
      <Button size="xs" variant={variant} onClick={open}>
        {label}
      </Button>
      <Modal opened={opened} onClose={leave} title={title} centered closeButtonProps={{ 'aria-label': 'Close' }}>
        {answered ? (
          <Stack>
            {answer(mutation.data)}
            <Group justify="end">
              <Button onClick={leave}>Done</Button>
            </Group>
          </Stack>
        ) : (
          <form
            noValidate
            onSubmit={(event) => {
              event.preventDefault();
              if (complete) mutation.mutate();
            }}
          >
            <Stack>
              {about === undefined ? null : <Text size="sm">{about}</Text>}
              {children}
              <SchemaForm
                schema={schema}
                values={values}
                choices={choices}
                error={mutation.error}
                onChange={(next) => {
                  setValues(next);
                  onChange?.(next);
                }}
              />
              {mutation.isError ? <Failure error={mutation.error} /> : null}
              <Group justify="end">
                <Button variant="default" onClick={leave}>
                  Cancel
                </Button>
                <Button type="submit" disabled={!complete} loading={mutation.isPending}>
                  {send}
                </Button>
              </Group>
            </Stack>
          </form>
        )}
      </Modal>
    </>
  );
}

import { Button, Group, List, Stack, Text } from '@mantine/core';
import { type UseMutationResult, useMutation } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { Json } from './page.tsx';
import { Failure } from './states.tsx';

export interface Preview<P> {
  check: UseMutationResult<P, Error, void>;
  submit: UseMutationResult<unknown, Error, void>;
  /** To be called when the form has changed: what was said about it no longer holds. */
  changed: () => void;
  /** What either of them said. */
  error: Error | null;
}

/** First what would happen, then the button that does it. */
export function usePreview<P, R>(options: {
  check: () => Promise<P>;
  submit: () => Promise<R>;
  done: (result: R) => unknown;
}): Preview<P> {
  const check = useMutation({ mutationFn: options.check });
  const submit = useMutation({ mutationFn: options.submit, onSuccess: options.done });
  return {
    check,
    submit,
    changed: () => {
      check.reset();
      submit.reset();
    },
    error: submit.error ?? check.error,
  };
}

interface PreviewFormProps<P> {
  preview: Preview<P>;
  /** Whether it can be asked yet. */
  complete: boolean;
  /** What the two buttons say. */
  words: { check: string; submit: string };
  /** The fields. */
  children: ReactNode;
  /** How the answer to the check is shown. */
  show: (answer: P) => ReactNode;
}

/** A form beside what would happen if it were sent. */
export function PreviewForm<P>({ preview, complete, words, children, show }: PreviewFormProps<P>) {
  const { check, submit, error } = preview;
  return (
    <form
      className="preview-form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        if (!complete) return;
        if (check.isSuccess) submit.mutate();
        else check.mutate();
      }}
    >
      <Stack className="surface" p="md" gap="sm">
        {children}
      </Stack>
      <Stack className="surface preview" p="md" gap="sm" component="section" aria-label="Preview">
        <Text fw={600}>Preview</Text>
        {error === null ? null : <Failure error={error} />}
        {check.isSuccess ? (
          show(check.data)
        ) : (
          <Text size="sm" c="dimmed">
            {complete
              ? 'Preview the changes. Nothing is changed yet.'
              : 'Complete the required fields to preview the changes.'}
          </Text>
        )}
        <Group gap="xs">
          <Button
            type="submit"
            variant={check.isSuccess ? 'filled' : 'default'}
            disabled={!complete}
            loading={check.isPending || submit.isPending}
          >
            {check.isSuccess ? words.submit : words.check}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

/** What check mode answers, of any kind of operation. */
export interface Plan {
  order?: string[];
  problems?: unknown[];
  create?: unknown[];
  change?: unknown[];
  delete?: unknown[];
}

/** A plan in words: the order, what speaks against it, and the rest for who wants to know. */
export function PlanView({ plan, children }: { plan: Plan; children?: ReactNode }) {
  const { order = [], problems = [] } = plan;
  return (
    <>
      {problems.length === 0 ? null : <Json value={problems} label="Problems" />}
      {order.length === 0 ? (
        <Text size="sm">Nothing to do: everything is up to date.</Text>
      ) : (
        <List type="ordered" size="sm" aria-label="Order">
          {order.map((line) => (
            <List.Item key={line}>{line}</List.Item>
          ))}
        </List>
      )}
      {children}
      <details>
        <Text component="summary" size="sm" c="dimmed" style={{ cursor: 'pointer' }}>
          Details
        </Text>
        <Json value={plan} label="Full plan" />
      </details>
    </>
  );
}

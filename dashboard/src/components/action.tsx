import { Button, type ButtonProps, Group, Modal, Stack, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import type { Operation } from '../../../src/sdk/client.ts';
import { queryClient } from '../queries.ts';
import { Failure } from './states.tsx';

interface ActionProps extends ButtonProps {
  children: ReactNode;
  /** Sends the request. Where it answers an operation, its page is opened. */
  run: () => Promise<Operation | undefined>;
  /** Asked before; absent: the button acts at once. */
  question?: ReactNode;
  disabled?: boolean;
  'aria-label'?: string;
}

/** A button that changes something, and says what went wrong where it did. */
export function Action({ children, run, question, ...button }: ActionProps) {
  const [opened, { open, close }] = useDisclosure();
  const navigate = useNavigate();
  const mutation = useMutation({
    mutationFn: run,
    onSuccess: async (operation) => {
      close();
      if (operation !== undefined) await navigate({ to: '/operations/$id', params: { id: operation.id } });
    },
    onError: open,
  });
  return (
    <>
      <Button
        size="xs"
        {...button}
        loading={mutation.isPending}
        onClick={() => (question === undefined ? mutation.mutate() : open())}
      >
        {children}
      </Button>
      <Modal opened={opened} onClose={close} title={children} centered closeButtonProps={{ 'aria-label': 'Close' }}>
        <Stack>
          {question === undefined ? null : <Text size="sm">{question}</Text>}
          {mutation.isError ? <Failure error={mutation.error} /> : null}
          <Group justify="end">
            <Button variant="default" onClick={close}>
              {question === undefined ? 'Close' : 'Go back'}
            </Button>
            {question === undefined ? null : (
              <Button color="red" loading={mutation.isPending} onClick={() => mutation.mutate()} data-autofocus>
                {children}
              </Button>
            )}
          </Group>
        </Stack>
      </Modal>
    </>
  );
}

/** For `run` of something that answers no operation: sends it, and lets what it touches be read again. */
export function then(request: Promise<unknown>, ...keys: string[]): Promise<undefined> {
  return request.then(async () => {
    await Promise.all(keys.map((key) => queryClient.invalidateQueries({ queryKey: [key] })));
    return undefined;
  });
}

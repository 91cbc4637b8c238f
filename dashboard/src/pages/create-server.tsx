import { Button, Code, Group, Select, Stack, TagsInput, TextInput, Title } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { ApiError } from '../../../src/sdk/client.ts';
import { Failure } from '../components/states.tsx';
import { plansOf, providers, workspaces, zonesOf } from '../queries.ts';
import { client } from '../session.ts';

const HOSTNAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const EMPTY = { hostname: '', workspace: '', provider: '', plan: '', zone: '', tags: [] as string[] };
type Form = typeof EMPTY;

/** Everything that can be said against the form without asking the server. */
function problemsOf(form: Form): Partial<Record<keyof Form, string>> {
  const problems: Partial<Record<keyof Form, string>> = {};
  if (form.hostname !== '' && !HOSTNAME.test(form.hostname))
    problems.hostname = 'Small letters, digits and hyphens, at most 63.';
  return problems;
}

/** What the server says against a field. */
function refusedOf(error: unknown, field: string): string | undefined {
  const problem = error instanceof ApiError ? error.fields.find((one) => one.field === field) : undefined;
  return problem === undefined ? undefined : problem.message;
}

/** First the plan, by check mode; only then the button that makes the server. */
export function CreateServerPage() {
  const [form, setForm] = useState<Form>(EMPTY);
  const navigate = useNavigate();
  const known = { workspaces: useQuery(workspaces), providers: useQuery(providers) };
  const plans = useQuery(plansOf(form.provider));
  const zones = useQuery(zonesOf(form.provider));
  const preview = useMutation({
    mutationFn: async () => {
      const { id } = await client.post('/v1/servers/create', { body: { ...form, check_mode: true } });
      return (await client.wait(id)).result;
    },
  });
  const create = useMutation({
    mutationFn: () => client.post('/v1/servers/create', { body: form }),
    onSuccess: ({ id }) => navigate({ to: '/operations/$id', params: { id } }),
  });
  const change = (changed: Partial<Form>) => {
    setForm((now) => ({ ...now, ...changed }));
    preview.reset();
    create.reset();
  };
  const problems = problemsOf(form);
  const error = preview.error ?? create.error;
  const complete = Object.entries(form).every(([, value]) => value !== '') && Object.keys(problems).length === 0;
  const said = (name: keyof Form) => problems[name] ?? refusedOf(error, name);
  const namesOf = (rows: { name: string }[] | undefined) => rows?.map(({ name }) => name) ?? [];
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (preview.isSuccess) create.mutate();
        else preview.mutate();
      }}
    >
      <Stack maw={520}>
        <Title order={1} size="h3">
          Create a server
        </Title>
        <TextInput
          label="Hostname"
          required
          value={form.hostname}
          error={said('hostname')}
          onChange={(event) => change({ hostname: event.currentTarget.value })}
        />
        <Select
          label="Workspace"
          required
          searchable
          data={namesOf(known.workspaces.data)}
          value={form.workspace || null}
          error={said('workspace')}
          onChange={(value) => change({ workspace: value ?? '' })}
        />
        <Select
          label="Provider"
          required
          data={namesOf(known.providers.data)}
          value={form.provider || null}
          error={said('provider')}
          onChange={(value) => change({ provider: value ?? '', plan: '', zone: '' })}
        />
        <Select
          label="Plan"
          required
          searchable
          disabled={form.provider === ''}
          data={namesOf(plans.data)}
          value={form.plan || null}
          error={said('plan')}
          onChange={(value) => change({ plan: value ?? '' })}
        />
        <Select
          label="Zone"
          required
          searchable
          disabled={form.provider === ''}
          data={namesOf(zones.data)}
          value={form.zone || null}
          error={said('zone')}
          onChange={(value) => change({ zone: value ?? '' })}
        />
        <TagsInput label="Tags" value={form.tags} error={said('tags')} onChange={(tags) => change({ tags })} />
        {plans.isError || zones.isError ? <Failure error={plans.error ?? zones.error} /> : null}
        {error === null ? null : <Failure error={error} />}
        {preview.isSuccess ? (
          <Code block aria-label="What would happen">
            {JSON.stringify(preview.data?.plan, null, 2)}
          </Code>
        ) : null}
        <Group>
          <Button
            type="submit"
            variant={preview.isSuccess ? 'filled' : 'default'}
            disabled={!complete}
            loading={preview.isPending || create.isPending}
          >
            {preview.isSuccess ? 'Create it' : 'Show what would happen'}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

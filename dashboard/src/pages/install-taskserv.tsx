import { Button, Code, MultiSelect, Select, Stack, Text, Title } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate, useParams } from '@tanstack/react-router';
import { useState } from 'react';
import { ApiError } from '../../../src/sdk/client.ts';
import { type FieldSchema, SchemaForm } from '../components/schema-form.tsx';
import { Failure, Loading } from '../components/states.tsx';
import { catalog, workspaces } from '../queries.ts';
import { client } from '../session.ts';

/** First what would happen on each server, by check mode; only then the button that installs. */
export function InstallTaskservPage() {
  const { name = '' } = useParams({ strict: false });
  const [workspace, setWorkspace] = useState('default');
  const [servers, setServers] = useState<string[]>([]);
  const [config, setConfig] = useState<Record<string, unknown>>({});
  const navigate = useNavigate();
  const { data: entries, error: catalogError } = useQuery(catalog);
  const known = useQuery(workspaces);
  const candidates = useQuery({
    queryKey: ['/v1/servers', 'of', workspace],
    queryFn: ({ signal }) => client.page('/v1/servers', { filters: { workspace }, signal }),
  });
  const body = { workspace, name, servers, config };
  const preview = useMutation({
    mutationFn: async () => {
      const { id } = await client.post('/v1/taskservs/create', { body: { ...body, check_mode: true } });
      return (await client.wait(id)).result;
    },
  });
  const install = useMutation({
    mutationFn: () => client.post('/v1/taskservs/create', { body }),
    onSuccess: ({ id }) => navigate({ to: '/operations/$id', params: { id } }),
  });
  if (catalogError !== null) return <Failure error={catalogError} />;
  if (entries === undefined) return <Loading />;
  const entry = entries.find((one) => one.name === name);
  if (entry === undefined) return <Failure error={new Error(`There is no "${name}" in the catalog.`)} />;
  const error = preview.error ?? install.error;
  const errorOf = (field: string) =>
    error instanceof ApiError ? error.fields.find((one) => one.field === `config.${field}`)?.message : undefined;
  const changed = () => {
    preview.reset();
    install.reset();
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (preview.isSuccess) install.mutate();
        else preview.mutate();
      }}
    >
      <Stack maw={560}>
        <Title order={1} size="h3">
          Install {name}
        </Title>
        <Text size="sm">{entry.summary}</Text>
        <Select
          label="Workspace"
          data={known.data?.map((one) => one.name) ?? []}
          value={workspace}
          allowDeselect={false}
          onChange={(value) => {
            setWorkspace(value ?? 'default');
            setServers([]);
            changed();
          }}
        />
        <MultiSelect
          label="Servers"
          required
          searchable
          data={candidates.data?.rows.map(({ hostname }) => hostname) ?? []}
          value={servers}
          onChange={(value) => {
            setServers(value);
            changed();
          }}
        />
        <SchemaForm
          properties={entry.config as Record<string, FieldSchema>}
          values={config}
          errorOf={errorOf}
          onChange={(values) => {
            setConfig(values);
            changed();
          }}
        />
        {error === null ? null : <Failure error={error} />}
        {preview.isSuccess ? (
          <Code block aria-label="What would happen">
            {JSON.stringify(preview.data?.plan, null, 2)}
          </Code>
        ) : null}
        <Button
          type="submit"
          disabled={servers.length === 0}
          variant={preview.isSuccess ? 'filled' : 'default'}
          loading={preview.isPending || install.isPending}
        >
          {preview.isSuccess ? 'Install it' : 'Show what would happen'}
        </Button>
      </Stack>
    </form>
  );
}

import { Badge, Group, Select, Stack, Text } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { type FieldSchema, problemsOf } from '../components/json-schema.ts';
import { PageHead } from '../components/page.tsx';
import { type Plan, PlanView, PreviewForm, usePreview } from '../components/preview-form.tsx';
import { SchemaForm } from '../components/schema-form.tsx';
import { Failure, Heading, Loading } from '../components/states.tsx';
import { activeWorkspaceOf, catalogOf, serversOf, workspaces } from '../queries.ts';
import { client } from '../session.ts';

/** First what would happen on each server, by check mode; only then the button that installs. */
export function InstallTaskservPage() {
  const { name = '' } = useParams({ strict: false });
  const given: Record<string, string | undefined> = useSearch({ strict: false });
  const known = useQuery(workspaces);
  const [chosen, setChosen] = useState(given.workspace);
  const workspace = chosen ?? activeWorkspaceOf(known.data) ?? '';
  const [servers, setServers] = useState<string[]>(given.server === undefined ? [] : [given.server]);
  const [config, setConfig] = useState<Record<string, unknown>>({});
  const navigate = useNavigate();
  const catalog = useQuery({ ...catalogOf(workspace), placeholderData: keepPreviousData });
  const candidates = useQuery(serversOf(workspace));
  const body = { workspace, name, servers, config };
  const preview = usePreview({
    check: async () => {
      const { id } = await client.post('/v1/taskservs/create', { body: { ...body, check_mode: true } });
      return ((await client.wait(id)).result?.plan ?? {}) as Plan;
    },
    submit: () => client.post('/v1/taskservs/create', { body }),
    done: ({ id }) => navigate({ to: '/operations/$id', params: { id } }),
  });
  if (catalog.isError) return <Failure error={catalog.error} onRetry={() => void catalog.refetch()} />;
  if (catalog.data === undefined) return <Loading />;
  const entry = catalog.data.find((one) => one.name === name);
  if (entry === undefined) return <Failure error={new Error(`There is no service "${name}" in the catalog.`)} />;
  const schema: FieldSchema = {
    type: 'object',
    properties: {
      version: { type: 'string', enum: entry.versions.supported, default: entry.versions.default },
      ...(entry.config as Record<string, FieldSchema>),
    },
  };
  const target: FieldSchema = {
    type: 'object',
    properties: { servers: { type: 'array', items: { type: 'string' } } },
    required: ['servers'],
  };
  return (
    <Stack gap="md">
      <PageHead title={`Install ${name}`} up={{ to: '/catalog', text: 'Catalog' }} about={entry.summary}>
        {entry.requires.length === 0 ? null : (
          <Group gap={4}>
            <Text size="xs" c="dimmed">
              also installs
            </Text>
            {entry.requires.map((one) => (
              <Badge key={one.name} variant="default" tt="none">
                {one.name}
              </Badge>
            ))}
          </Group>
        )}
      </PageHead>
      <PreviewForm
        preview={preview}
        complete={servers.length > 0 && Object.keys(problemsOf(schema, config)).length === 0}
        words={{ check: 'Preview', submit: 'Install' }}
        show={(plan) => <PlanView plan={plan} />}
      >
        <Select
          label="Workspace"
          data={known.data?.map((one) => one.name) ?? []}
          value={workspace}
          allowDeselect={false}
          onChange={(value) => {
            setChosen(value ?? undefined);
            setServers([]);
            preview.changed();
          }}
        />
        <SchemaForm
          schema={target}
          values={servers.length === 0 ? {} : { servers }}
          error={preview.error}
          choices={{ servers: { options: candidates.data?.rows.map(({ hostname }) => hostname) ?? [] } }}
          onChange={(values) => {
            setServers((values.servers as string[] | undefined) ?? []);
            preview.changed();
          }}
        />
        {candidates.data?.rows.length === 0 ? (
          <Text size="sm" c="dimmed">
            Workspace “{workspace}” has no servers yet. Create one first.
          </Text>
        ) : null}
        <Heading>Configuration</Heading>
        <SchemaForm
          schema={schema}
          values={config}
          error={preview.error}
          at="config."
          onChange={(values) => {
            setConfig(values);
            preview.changed();
          }}
        />
      </PreviewForm>
    </Stack>
  );
}

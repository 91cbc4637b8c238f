import { Anchor, Select, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { lazy, Suspense, useState } from 'react';
import { type FieldSchema, missingOf, problemsOf } from '../components/json-schema.ts';
import { PageHead } from '../components/page.tsx';
import { PreviewForm, usePreview } from '../components/preview-form.tsx';
import { SchemaForm } from '../components/schema-form.tsx';
import { Failure, Loading } from '../components/states.tsx';
import { activeWorkspaceOf, plansOf, providers, workflowTypesOf, workspaces, zonesOf } from '../queries.ts';
import { client } from '../session.ts';

const CheckPicture = lazy(async () => ({ default: (await import('../components/graph/picture.tsx')).CheckPicture }));

/** What the workspace fills in where it is left out. */
const FROM_WORKSPACE = ['provider', 'plan', 'zone'];

/** Choose a type, fill in its parameters, see the graph that it makes, run it. */
export function SubmitWorkflowPage() {
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const known = useQuery(workspaces);
  const workspace = search.workspace ?? activeWorkspaceOf(known.data) ?? '';
  const workflowType = search.type ?? '';
  const [parameters, setParameters] = useState<Record<string, unknown>>({});
  const navigate = useNavigate();
  const types = useQuery(workflowTypesOf(workspace));
  const choices = usePlaces(parameters);
  const body = { workspace, workflow_type: workflowType, parameters };
  const preview = usePreview({
    check: () => client.post('/v1/workflows/validate', { body }),
    submit: () => client.post('/v1/workflows/submit', { body }),
    done: ({ id }) => navigate({ to: '/workflows/$id', params: { id } }),
  });
  const choose = (changed: Record<string, string | undefined>) => {
    setParameters({});
    preview.changed();
    void navigate({ to: '.', search: { ...search, ...changed }, replace: true });
  };
  if (types.isError) return <Failure error={types.error} onRetry={() => void types.refetch()} />;
  if (types.data === undefined) return <Loading />;
  const type = types.data.find(({ name }) => name === workflowType);
  const schema = withoutDefaults(type?.parameters as FieldSchema | undefined);
  return (
    <Stack gap="md">
      <PageHead title="Run a workflow" up={{ to: '/workflows', text: 'Workflows' }} />
      <PreviewForm
        preview={preview}
        complete={
          type !== undefined &&
          missingOf(schema, parameters).length === 0 &&
          Object.keys(problemsOf(schema, parameters)).length === 0
        }
        words={{ check: 'Preview', submit: 'Run workflow' }}
        show={(graph) => (
          <>
            <Suspense fallback={<Loading />}>
              <CheckPicture of={graph} />
            </Suspense>
            <ol className="waves" aria-label="Waves">
              {graph.waves.map((wave) => (
                <li key={wave.join()}>{wave.map((id) => nodesText(graph, id)).join(', ')}</li>
              ))}
            </ol>
          </>
        )}
      >
        <Select
          label="Workspace"
          allowDeselect={false}
          data={known.data?.map(({ name }) => name) ?? []}
          value={workspace}
          onChange={(value) => choose({ workspace: value ?? undefined })}
        />
        <Select
          label="Type"
          required
          searchable
          description={type?.summary}
          data={types.data.map(({ name }) => name)}
          value={workflowType || null}
          onChange={(value) => choose({ type: value ?? undefined })}
        />
        {type === undefined ? null : (
          <>
            <Anchor component={Link} to="/workflows/editor" search={{ workspace, type: type.name } as never} size="xs">
              View definition
            </Anchor>
            <SchemaForm
              schema={schema}
              values={parameters}
              choices={choices}
              error={preview.error}
              at="parameters."
              onChange={(values) => {
                setParameters(values);
                preview.changed();
              }}
            />
          </>
        )}
        {types.data.length === 0 ? (
          <Text size="sm" c="dimmed">
            This workspace has no workflow types.
          </Text>
        ) : null}
      </PreviewForm>
    </Stack>
  );
}

function nodesText({ steps }: { steps: readonly { id: string; nodes: number }[] }, id: string): string {
  const nodes = steps.find((step) => step.id === id)?.nodes ?? 1;
  return nodes === 1 ? id : `${id} (${nodes})`;
}

/** What the workspace has a value for need not be given. */
function withoutDefaults(schema: FieldSchema = {}): FieldSchema {
  return { ...schema, required: (schema.required ?? []).filter((name) => !FROM_WORKSPACE.includes(name)) };
}

/** Where a workflow has a provider, a plan and a zone, these are chosen from what there is. */
function usePlaces({ provider }: Record<string, unknown>) {
  const known = useQuery(providers);
  const name = String(provider ?? (known.data?.length === 1 ? known.data[0]?.name : ''));
  const plans = useQuery(plansOf(name));
  const zones = useQuery(zonesOf(name));
  const namesOf = (rows: { name: string }[] | undefined) => rows?.map((row) => row.name) ?? [];
  return {
    provider: { options: namesOf(known.data) },
    plan: { options: namesOf(plans.data) },
    zone: { options: namesOf(zones.data) },
  };
}

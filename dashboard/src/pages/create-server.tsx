import createBody from 'virtual:body/v1/servers/create';
import { Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { type FieldSchema, missingOf, problemsOf } from '../components/json-schema.ts';
import { PageHead } from '../components/page.tsx';
import { type Plan, PlanView, PreviewForm, usePreview } from '../components/preview-form.tsx';
import { SchemaForm } from '../components/schema-form.tsx';
import { Failure } from '../components/states.tsx';
import { activeWorkspaceOf, plansOf, providers, workspaces, zonesOf } from '../queries.ts';
import { client } from '../session.ts';

/** In the order in which they are thought of. */
const FIELDS = [
  'hostname',
  'workspace',
  'provider',
  'plan',
  'zone',
  'tags',
  'image',
  'networks',
  'user_data',
  'protect',
  'ttl',
];
const SCHEMA: FieldSchema = {
  ...createBody,
  properties: Object.fromEntries(FIELDS.map((name) => [name, createBody.properties?.[name] ?? {}])),
};
type Body = Parameters<typeof client.post<'/v1/servers/create'>>[1]['body'];

/** First the plan, by check mode; only then the button that makes the server. */
export function CreateServerPage() {
  const given: Record<string, string | undefined> = useSearch({ strict: false });
  const known = { workspaces: useQuery(workspaces), providers: useQuery(providers) };
  const only = known.providers.data?.length === 1 ? known.providers.data[0]?.name : undefined;
  const [entered, setEntered] = useState<Record<string, unknown>>({});
  const values: Record<string, unknown> = {
    workspace: given.workspace ?? activeWorkspaceOf(known.workspaces.data),
    provider: only,
    ...entered,
  };
  const navigate = useNavigate();
  const provider = String(values.provider ?? '');
  const plans = useQuery(plansOf(provider));
  const zones = useQuery(zonesOf(provider));
  const body = values as unknown as Body;
  const preview = usePreview({
    check: async () => {
      const { id } = await client.post('/v1/servers/create', { body: { ...body, check_mode: true } });
      return ((await client.wait(id)).result?.plan ?? {}) as Plan;
    },
    submit: () => client.post('/v1/servers/create', { body }),
    done: ({ id }) => navigate({ to: '/operations/$id', params: { id } }),
  });
  const plan = plans.data?.find(({ name }) => name === values.plan);
  const price = plan?.prices?.[String(values.zone)];
  const namesOf = (rows: { name: string }[] | undefined) => rows?.map(({ name }) => name) ?? [];
  return (
    <Stack gap="md">
      <PageHead title="Create a server" up={{ to: '/servers', text: 'Servers' }} />
      {plans.isError || zones.isError ? <Failure error={plans.error ?? zones.error} /> : null}
      <PreviewForm
        preview={preview}
        complete={missingOf(SCHEMA, values).length === 0 && Object.keys(problemsOf(SCHEMA, values)).length === 0}
        words={{ check: 'Preview', submit: 'Create server' }}
        show={(found) => (
          <PlanView plan={found}>
            {price === undefined ? null : (
              <Text size="sm">
                About {price.monthly.toFixed(2)} {price.currency ?? ''} per month.
              </Text>
            )}
          </PlanView>
        )}
      >
        <SchemaForm
          schema={SCHEMA}
          values={values}
          error={preview.error}
          choices={{
            workspace: { options: namesOf(known.workspaces.data) },
            provider: { options: namesOf(known.providers.data) },
            plan: { options: namesOf(plans.data), disabled: provider === '' },
            zone: {
              options:
                zones.data?.map(({ name, description }) => ({ value: name, label: `${name} · ${description}` })) ?? [],
              disabled: provider === '',
            },
          }}
          onChange={(next) => {
            const moved = next.provider !== values.provider;
            setEntered(moved ? { ...next, plan: undefined, zone: undefined } : next);
            preview.changed();
          }}
        />
      </PreviewForm>
    </Stack>
  );
}

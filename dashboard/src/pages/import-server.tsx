import importBody from 'virtual:body/v1/servers/import';
import { Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { type FieldSchema, missingOf, problemsOf } from '../components/json-schema.ts';
import { PageHead } from '../components/page.tsx';
import { type Plan, PlanView, PreviewForm, usePreview } from '../components/preview-form.tsx';
import { SchemaForm } from '../components/schema-form.tsx';
import { activeWorkspaceOf, workspaces } from '../queries.ts';
import { client } from '../session.ts';

type Body = Parameters<typeof client.post<'/v1/servers/import'>>[1]['body'];
const SSH = importBody.properties?.ssh?.properties ?? {};
/** The API's fields; those of `ssh` but for the machine on the way, which the API and the command line know. */
const SCHEMA: FieldSchema = {
  type: 'object',
  required: ['hostname', 'workspace', 'ip_address'],
  properties: {
    ...Object.fromEntries(
      ['hostname', 'workspace', 'ip_address', 'tags'].map((name) => [name, importBody.properties?.[name] ?? {}]),
    ),
    hostname: { ...importBody.properties?.hostname, description: 'Hostname to record.' },
    ip_address: { type: 'string', description: 'Address of the machine, for SSH.' },
    ...Object.fromEntries(['user', 'port', 'host_key'].map((name) => [name, SSH[name] ?? {}])),
  },
};

/** A machine that is there already is taken in: first looked at, then kept. */
export function ImportServerPage() {
  const known = useQuery(workspaces);
  const [entered, setEntered] = useState<Record<string, unknown>>({});
  const values: Record<string, unknown> = { workspace: activeWorkspaceOf(known.data), ...entered };
  const navigate = useNavigate();
  const { user, port, host_key, ...rest } = values;
  const ssh = Object.fromEntries(Object.entries({ user, port, host_key }).filter(([, value]) => value !== undefined));
  const body = { ...rest, ssh } as unknown as Body;
  const preview = usePreview({
    check: async () => {
      const { id } = await client.post('/v1/servers/import', { body: { ...body, check_mode: true } });
      return ((await client.wait(id)).result?.plan ?? {}) as Plan;
    },
    submit: () => client.post('/v1/servers/import', { body }),
    done: ({ id }) => navigate({ to: '/operations/$id', params: { id } }),
  });
  return (
    <Stack gap="md">
      <PageHead
        title="Import existing server"
        up={{ to: '/servers', text: 'Servers' }}
        about="Import a running machine that accepts the workspace's SSH key. Deleting it later only removes it from here."
      />
      <PreviewForm
        preview={preview}
        complete={missingOf(SCHEMA, values).length === 0 && Object.keys(problemsOf(SCHEMA, values)).length === 0}
        words={{ check: 'Preview', submit: 'Import server' }}
        show={(plan) => <PlanView plan={plan} />}
      >
        <SchemaForm
          schema={SCHEMA}
          values={values}
          error={preview.error}
          choices={{ workspace: { options: known.data?.map(({ name }) => name) ?? [] } }}
          onChange={(next) => {
            setEntered(next);
            preview.changed();
          }}
        />
      </PreviewForm>
    </Stack>
  );
}

import { Button, List, Select, Stack, Text, Title } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { ApiError } from '../../../src/sdk/client.ts';
import { type FieldSchema, SchemaForm } from '../components/schema-form.tsx';
import { Failure, Loading } from '../components/states.tsx';
import { workflowTypesOf, workspaces } from '../queries.ts';
import { client } from '../session.ts';

interface ParametersSchema {
  properties?: Record<string, FieldSchema>;
  required?: string[];
}

/** What the workspace fills in where it is left out. */
const FROM_WORKSPACE = ['provider', 'plan', 'zone'];

/** Choose a type, fill in its parameters, see in which order it would run, run it. */
export function SubmitWorkflowPage() {
  const [workspace, setWorkspace] = useState('default');
  const [workflowType, setWorkflowType] = useState('');
  const [parameters, setParameters] = useState<Record<string, unknown>>({});
  const navigate = useNavigate();
  const known = useQuery(workspaces);
  const types = useQuery(workflowTypesOf(workspace));
  const body = { workspace, workflow_type: workflowType, parameters };
  const check = useMutation({ mutationFn: () => client.post('/v1/workflows/validate', { body }) });
  const submit = useMutation({
    mutationFn: () => client.post('/v1/workflows/submit', { body }),
    onSuccess: ({ id }) => navigate({ to: '/workflows/$id', params: { id } }),
  });
  if (types.isError) return <Failure error={types.error} />;
  if (types.data === undefined) return <Loading />;
  const type = types.data.find(({ name }) => name === workflowType);
  const schema = (type?.parameters ?? {}) as ParametersSchema;
  const error = check.error ?? submit.error;
  const errorOf = (field: string) =>
    error instanceof ApiError ? error.fields.find((one) => one.field === `parameters.${field}`)?.message : undefined;
  const changed = () => {
    check.reset();
    submit.reset();
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (check.isSuccess) submit.mutate();
        else check.mutate();
      }}
    >
      <Stack maw={560}>
        <Title order={1} size="h3">
          Run a workflow
        </Title>
        <Select
          label="Workspace"
          allowDeselect={false}
          data={known.data?.map(({ name }) => name) ?? []}
          value={workspace}
          onChange={(value) => {
            setWorkspace(value ?? 'default');
            changed();
          }}
        />
        <Select
          label="Type"
          required
          searchable
          data={types.data.map(({ name }) => name)}
          value={workflowType || null}
          onChange={(value) => {
            setWorkflowType(value ?? '');
            setParameters({});
            changed();
          }}
        />
        {type === undefined ? null : (
          <>
            <Text size="sm">{type.summary}</Text>
            <SchemaForm
              properties={schema.properties ?? {}}
              required={schema.required?.filter((name) => !FROM_WORKSPACE.includes(name)) ?? []}
              values={parameters}
              errorOf={errorOf}
              onChange={(values) => {
                setParameters(values);
                changed();
              }}
            />
          </>
        )}
        {error === null ? null : <Failure error={error} />}
        {check.isSuccess ? (
          <List type="ordered" size="sm" aria-label="Waves">
            {check.data.waves.map((wave) => (
              <List.Item key={wave.join()}>{wave.join(', ')}</List.Item>
            ))}
          </List>
        ) : null}
        <Button
          type="submit"
          disabled={workflowType === ''}
          variant={check.isSuccess ? 'filled' : 'default'}
          loading={check.isPending || submit.isPending}
        >
          {check.isSuccess ? 'Run it' : 'Check and show the order'}
        </Button>
      </Stack>
    </form>
  );
}

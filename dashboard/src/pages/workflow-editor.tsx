import { Button, Group, Select, Stack, Text } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { parse } from 'yaml';
import schema from '../../../docs/contracts/workflow.schema.json';
import { ApiError } from '../../../src/sdk/client.ts';
import { ownProblems, type Problem, serverProblems } from '../components/editor/problems.ts';
import type { SchemaNode } from '../components/editor/schema-path.ts';
import { YamlEditor } from '../components/editor/yaml-editor.tsx';
import { CheckPicture } from '../components/graph/picture.tsx';
import type { FieldSchema } from '../components/json-schema.ts';
import { PageHead } from '../components/page.tsx';
import { SchemaForm } from '../components/schema-form.tsx';
import { Failure, Heading, Loading } from '../components/states.tsx';
import { activeWorkspaceOf, workflowTypeOf, workflowTypesOf, workspaces } from '../queries.ts';
import { client } from '../session.ts';

/** After the last key before the server is asked. Milliseconds. */
const ASK_MS = 400;
const BEGINNING = `name: web
summary: Web servers with nginx on them.
parameters:
  type: object
  required: [count]
  properties:
    count: { type: integer, minimum: 1, default: 2 }
operations:
  - id: web
    kind: server.create
    for_each: "\${{ range(parameters.count) }}"
    with: { hostname: "web-\${{ item }}" }
  - id: nginx
    kind: taskserv.create
    with: { name: nginx, servers: "\${{ operations.web[*].result.hostname }}" }
`;

/** A definition of a workflow, checked while it is written, beside the graph that it makes. */
export function WorkflowEditorPage() {
  const search: Record<string, string | undefined> = useSearch({ strict: false });
  const navigate = useNavigate();
  const known = useQuery(workspaces);
  const workspace = search.workspace ?? activeWorkspaceOf(known.data) ?? '';
  const types = useQuery(workflowTypesOf(workspace));
  const type = useQuery(workflowTypeOf(workspace, search.type ?? ''));
  const change = (changed: Record<string, string | undefined>) =>
    void navigate({ to: '.', search: { ...search, ...changed }, replace: true });
  if (type.isError) return <Failure error={type.error} onRetry={() => void type.refetch()} />;
  if (workspace === '' || (search.type !== undefined && type.data === undefined)) return <Loading />;
  const initial = type.data?.definition ?? BEGINNING;
  return (
    <Stack gap="sm">
      <PageHead
        title="Write a definition"
        up={{ to: '/workflows', text: 'Workflows' }}
        about="The definition is checked while you write. Ctrl-Space completes, Tab leaves the editor."
      />
      <Group gap="xs" align="end">
        <Select
          size="xs"
          label="Workspace"
          data={known.data?.map(({ name }) => name) ?? []}
          value={workspace}
          allowDeselect={false}
          onChange={(value) => change({ workspace: value ?? undefined })}
        />
        <Select
          size="xs"
          label="Start from"
          placeholder="an example"
          clearable
          data={types.data?.map(({ name }) => name) ?? []}
          value={search.type ?? null}
          onChange={(value) => change({ type: value ?? undefined })}
        />
      </Group>
      <Workbench key={initial} initial={initial} workspace={workspace} />
    </Stack>
  );
}

function Workbench({ initial, workspace }: { initial: string; workspace: string }) {
  const [text, setText] = useState(initial);
  const [parameters, setParameters] = useState<Record<string, unknown>>({});
  const own = useMemo(() => ownProblems(text, schema), [text]);
  const [asked] = useDebouncedValue({ text, parameters }, ASK_MS);
  const check = useQuery({
    queryKey: ['workflow-check', workspace, asked],
    queryFn: ({ signal }) =>
      client.post('/v1/workflows/validate', {
        body: { workspace, definition: asked.text, parameters: asked.parameters },
        signal,
      }),
    retry: false,
    gcTime: 0,
    placeholderData: (before) => before,
  });
  const fields = check.error instanceof ApiError ? check.error.fields : [];
  const settled = asked.text === text && asked.parameters === parameters && !check.isFetching;
  // Until the server has looked at this very text, this page's own look is what there is.
  const problems: Problem[] = settled && own.length === 0 ? serverProblems(text, fields) : own;
  const wanted = parametersOf(text);
  const beside = fields.filter((field) => !('line' in field) && !field.field.startsWith('parameters.'));
  return (
    <div className="workbench">
      <Stack gap="xs">
        <YamlEditor
          initial={initial}
          schema={schema as SchemaNode}
          label="Definition"
          problems={problems}
          onChange={setText}
        />
        <Group justify="space-between">
          <Verdict problems={problems} settled={settled} passed={settled && check.isSuccess} text={text} />
          <Button size="xs" variant="default" onClick={() => download(text)}>
            Download
          </Button>
        </Group>
        <Text size="xs" c="dimmed">
          To run this definition, save it as workflows/&lt;name&gt;.yaml in the directory of workspace “{workspace}”.
        </Text>
      </Stack>
      <Stack gap="xs">
        {check.error !== null && !(check.error instanceof ApiError && fields.length > 0) ? (
          <Failure error={check.error} />
        ) : null}
        {settled && beside.length > 0 ? <Failure error={check.error} /> : null}
        {check.data === undefined ? (
          <Text size="sm" c="dimmed">
            The graph appears here when the definition is valid.
          </Text>
        ) : (
          <CheckPicture of={check.data} />
        )}
        {wanted === null ? null : (
          <>
            <Heading>Try with parameters</Heading>
            <SchemaForm
              schema={wanted}
              values={parameters}
              error={check.error}
              at="parameters."
              onChange={setParameters}
            />
          </>
        )}
      </Stack>
    </div>
  );
}

interface VerdictProps {
  problems: readonly Problem[];
  settled: boolean;
  passed: boolean;
  text: string;
}

function Verdict({ problems, settled, passed, text }: VerdictProps) {
  const [first] = problems;
  const place = first === undefined ? '' : `Line ${text.slice(0, first.from).split('\n').length}: `;
  return (
    <Text size="sm" role="status" c={first === undefined ? 'dimmed' : 'var(--app-red)'} style={{ flex: 1 }}>
      {first === undefined
        ? settled
          ? passed
            ? 'No problems found.'
            : 'Something is missing. See the right side.'
          : 'Checking…'
        : null}
      {first === undefined
        ? null
        : `${place}${first.message}${problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''}`}
    </Text>
  );
}

/** The schema of the parameters that the text asks for; null where it has none. */
function parametersOf(text: string): FieldSchema | null {
  try {
    const { parameters } = parse(text) as { parameters?: FieldSchema };
    return typeof parameters?.properties === 'object' && Object.keys(parameters.properties).length > 0
      ? parameters
      : null;
  } catch {
    // No YAML (yet): said where it is.
    return null;
  }
}

function download(text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/yaml' }));
  link.download = `${/^name:\s*([\w-]+)/m.exec(text)?.[1] ?? 'workflow'}.yaml`;
  link.click();
  URL.revokeObjectURL(link.href);
}

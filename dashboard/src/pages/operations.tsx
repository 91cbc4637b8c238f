import { Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import type { Operation } from '../../../src/sdk/client.ts';
import { EventLog } from '../components/event-log.tsx';
import type { ListColumn } from '../components/list.tsx';
import { ListPage } from '../components/list-page.tsx';
import { Facts, Json, PageHead, To } from '../components/page.tsx';
import { Cancel, RUN_COLUMNS, RUN_STATUSES, runFacts } from '../components/run.tsx';
import { Failure, Heading, Loading } from '../components/states.tsx';
import { operationById } from '../queries.ts';
import { client } from '../session.ts';

export const OPERATION_COLUMNS: readonly ListColumn<Operation>[] = [
  { heading: 'Operation', cell: ({ id, kind, title }) => <To to={`/operations/${id}`}>{title ?? kind}</To> },
  {
    heading: 'Resource',
    width: '230px',
    from: 'lg',
    cell: ({ resource }) => <span title={resource ?? undefined}>{resource ?? '–'}</span>,
  },
  ...RUN_COLUMNS,
];

export function OperationsPage() {
  return (
    <ListPage
      title="Operations"
      about="All changes of infrastructure, newest first."
      filters={[
        { name: 'status', options: RUN_STATUSES },
        { name: 'kind' },
        { name: 'workspace' },
        { name: 'resource' },
        { name: 'created_by' },
      ]}
      path="/v1/operations"
      columns={OPERATION_COLUMNS}
      keyOf={({ id }) => id}
      label="operations"
      empty="Every change of infrastructure is listed here."
    />
  );
}

export function OperationPage() {
  const { id = '' } = useParams({ strict: false });
  const { data: operation, error, refetch } = useQuery(operationById(id));
  if (operation === undefined)
    return error === null ? <Loading /> : <Failure error={error} onRetry={() => void refetch()} />;
  return (
    <Stack gap="md">
      <PageHead
        title={operation.kind}
        up={{ to: '/operations', text: 'Operations' }}
        status={{ status: operation.status, operation: true }}
      >
        <Cancel
          run={operation}
          permission="operation_cancel"
          question="The operation stops at the next safe point, and what is half done is cleaned up."
          send={() => client.post('/v1/operations/{id}/cancel', { path: { id } })}
        />
      </PageHead>
      {operation.error === null ? null : <Failure error={operation.error} />}
      <OperationFacts operation={operation} />
      <EventLog operationId={id} progress={operation.progress} status={operation.status} />
      {operation.result === null ? null : (
        <>
          <Heading>Result</Heading>
          <Json value={operation.result} label="Result" />
        </>
      )}
    </Stack>
  );
}

/** Where to read of a thing that an operation changes: `server:srv-abc123`. */
function placeOf(resource: string | null): { to: string; text: string } | null {
  const [, kind, id = ''] = /^(server|taskserv|workflow):(.+)$/.exec(resource ?? '') ?? [];
  return kind === undefined ? null : { to: `/${kind}s/${id}`, text: id };
}

function OperationFacts({ operation }: { operation: Operation }) {
  const { result, resource, kind, id, parent_id: parent } = operation;
  const cleanup = result?.follow_up_operation_id ?? result?.cleanup_operation_id;
  const place = placeOf(resource);
  return (
    <Facts
      of={[
        ...runFacts(operation),
        resource === null
          ? null
          : [
              'Resource',
              place === null ? (
                resource
              ) : (
                <To key="on" to={place.to}>
                  {place.text}
                </To>
              ),
            ],
        kind === 'workflow.run'
          ? [
              'Steps',
              <To key="steps" to={`/workflows/${id}`}>
                View workflow
              </To>,
            ]
          : null,
        parent === null
          ? null
          : [
              'Part of',
              <To key="parent" to={`/workflows/${parent}`}>
                View workflow
              </To>,
            ],
        typeof cleanup === 'string'
          ? [
              'Cleaned up by',
              <To key="cleanup" to={`/operations/${cleanup}`}>
                View operation
              </To>,
            ]
          : null,
      ]}
    />
  );
}

/** What the tests of workflows share: submitting graphs, waiting for their end, and the simulated cloud's books. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { expectOk } from './acceptance.ts';
import type { TestDatabase } from './database.ts';
import { type Client, ended, type Operation, type TestServer } from './server.ts';

/** A step as a request writes it. */
export interface StepInput {
  id: string;
  kind: string;
  [field: string]: unknown;
}

export interface Step {
  id: string;
  step: string;
  kind: string;
  depends_on: { id: string; type: 'hard' | 'soft' }[];
  status: string;
  attempt: number;
  with: Record<string, unknown> | null;
  operation_id: string | null;
  result: Record<string, unknown> | null;
  error: string | null;
  error_code: string | null;
  started_at: string | null;
  finished_at: string | null;
  undo: string | null;
  undo_operation_id: string | null;
  undo_error: string | null;
}

export interface WorkflowRecord {
  id: string;
  workflow_type: string | null;
  status: string;
  progress: number;
  nodes: Record<string, number>;
  result: Record<string, unknown> | null;
  error: string | null;
  parameters: Record<string, unknown>;
  retry_of: string | null;
  retried_by: string | null;
  rollback_operation_id: string | null;
  created_at: string;
  updated_at: string;
}

/** Submits a workflow. @returns its operation, not yet ended. */
export async function submit(
  client: Client,
  type: string,
  parameters: Record<string, unknown>,
  workspace = 'default',
): Promise<Operation> {
  return expectOk(
    await client.request<Operation>('POST', '/v1/workflows/submit', { workspace, workflow_type: type, parameters }),
  );
}

/** Submits a graph that the request itself writes out. */
export function submitBatch(
  client: Client,
  operations: StepInput[],
  more: Record<string, unknown> = {},
  workspace = 'default',
) {
  return submit(client, 'batch', { operations, ...more }, workspace);
}

export async function workflowOf(client: Client, id: string): Promise<WorkflowRecord> {
  return expectOk(await client.request<WorkflowRecord>('GET', `/v1/workflows/${id}`));
}

export async function stepsOf(client: Client, id: string): Promise<Step[]> {
  return expectOk(await client.request<Step[]>('GET', `/v1/workflows/${id}/steps`));
}

/** Status of each node by its id. */
export async function statuses(client: Client, id: string): Promise<Record<string, string>> {
  return Object.fromEntries((await stepsOf(client, id)).map((step) => [step.id, step.status]));
}

/** Submits a graph and waits for its end. */
export async function runBatch(
  client: Client,
  operations: StepInput[],
  more: Record<string, unknown> = {},
  seconds = 60,
  workspace = 'default',
): Promise<Operation> {
  return ended(client, (await submitBatch(client, operations, more, workspace)).id, seconds);
}

/** Waits for the operation that undoes what a workflow did, and answers it. */
export async function rolledBack(client: Client, workflow: Operation, seconds = 60): Promise<Operation> {
  const id = workflow.result?.cleanup_operation_id;
  assert.equal(typeof id, 'string', `no rollback follows: ${JSON.stringify(workflow)}`);
  return ended(client, String(id), seconds);
}

/** A step that creates a server. */
export function makes(id: string, hostname: string, more: Record<string, unknown> = {}): StepInput {
  return { id, kind: 'server.create', with: { hostname }, ...more };
}

/** Hostnames that exist at the simulated cloud. */
export async function hostsInCloud({ pool }: Pick<TestDatabase, 'pool'>): Promise<string[]> {
  const { rows } = await pool.query<{ hostname: string }>(
    `select hostname from simulated_cloud.servers
     where not (change = 'delete' and settles_at <= clock_timestamp()) order by hostname`,
  );
  return rows.map(({ hostname }) => hostname);
}

/**
 * Gives the workspace "default" a type like `batch`, but what cannot be undone at once stays: with the five tries of that
 * one hardly anything would. @returns its name.
 */
export async function typeUndoneOnce({ dataDir }: Pick<TestServer, 'dataDir'>): Promise<string> {
  const directory = `${dataDir}/workspaces/default/workflows`;
  await mkdir(directory, { recursive: true });
  await writeFile(
    `${directory}/undone_once.yaml`,
    `name: undone_once
parameters:
  type: object
  properties: { operations: { type: array, items: { type: object } }, parallel_limit: { type: integer, default: 100 } }
operations: "\${{ parameters.operations }}"
parallel_limit: "\${{ parameters.parallel_limit }}"
rollback: { max_attempts: 1 }
`,
  );
  return 'undone_once';
}

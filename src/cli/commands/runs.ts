/** What operations and workflows share: a workflow's run is an operation under the same id. */
import type { CommandDefinition } from '../command.ts';
import { ConflictError } from '../errors.ts';
import type { View } from '../output.ts';

interface Run {
  noun: 'operation' | 'workflow';
  view: View;
}

const EXAMPLE_ID = '01a20f95-0b28-7041-8584-a68ad54fc75b';

function idOf({ noun }: Run) {
  return { name: 'id', description: `id of the ${noun}`, names: noun };
}

/** `operation show`, `workflow show`. */
export function showCommand(run: Run): CommandDefinition {
  const path = `/v1/${run.noun}s/{id}` as const;
  return {
    name: `${run.noun} show`,
    summary: `show one ${run.noun}`,
    examples: [`provisioning ${run.noun} show ${EXAMPLE_ID} -o json`],
    arguments: [idOf(run)],
    covers: [`GET ${path}`],
    async run(session, [id = '']) {
      session.record(await (await session.client()).get(path, { path: { id } }), run.view);
    },
  };
}

/** `operation wait`, `workflow watch`. */
export function followCommand(run: Run, verb: string, summary: string, example: string): CommandDefinition {
  return {
    name: `${run.noun} ${verb}`,
    summary,
    description: 'The exit status is 0 if it completed and 1 if it failed or was cancelled.',
    examples: [example],
    arguments: [idOf(run)],
    waits: true,
    covers: ['GET /v1/operations/{id}/events', 'GET /v1/operations/{id}'],
    async run(session, [id = '']) {
      await session.operation(await (await session.client()).get('/v1/operations/{id}', { path: { id } }));
    },
  };
}

/** `operation cancel`, `workflow cancel`: they wait for the end unless told not to. */
export function cancelCommand(run: Run, summary: string): CommandDefinition {
  const path = `/v1/${run.noun}s/{id}/cancel` as const;
  return {
    name: `${run.noun} cancel`,
    summary,
    description: `The exit status is 5 if it had already ended. A follow-up operation, named in the result, cleans up.`,
    examples: [
      `provisioning ${run.noun} cancel ${EXAMPLE_ID}`,
      `provisioning ${run.noun} cancel ${EXAMPLE_ID} --no-wait`,
    ],
    arguments: [idOf(run)],
    operation: true,
    covers: [`POST ${path}`],
    async run(session, [id = ''], options) {
      const client = await session.client();
      const asked = await client.post(path, { path: { id }, ...session.idempotency() });
      if (options.wait === false || options.check === true) return session.record(asked, run.view);
      const ended = await session.follow(await client.get('/v1/operations/{id}', { path: { id } }));
      session.record(ended, run.view);
      if (ended.status !== 'cancelled')
        throw new ConflictError(`Too late to cancel: it already ended as ${ended.status}.`);
    },
  };
}

import type { JsonObject } from '../../documents/json.ts';
import { defineProcedure, OperationError, type Procedure } from '../../engine/procedure.ts';
import { leaveTurns } from '../../servers/turn-store.ts';
import { onEachHost } from '../../taskservs/procedures/each-host.ts';
import { type Host, type HostTools, TASKSERV_QUEUE } from '../../taskservs/procedures/input.ts';
import { inTurn } from '../../taskservs/procedures/turn.ts';
import { createMask } from '../../taskservs/secrets.ts';
import { runJob } from '../../transports/job.ts';
import { asShell } from '../../transports/program.ts';
import { openFields } from '../secrets/open.ts';

interface CommandInput {
  hosts: Host[];
  script: string;
  /** Texts, and references to secrets of the workflow or of taskservs. */
  env: JsonObject;
  workflow_id: string;
  /** Seconds on each host. */
  timeout: number;
}

/** Bytes of a script's environment with its secrets opened. */
const MAX_ENVIRONMENT_BYTES = 262_144;

/**
 * The script's environment with its secrets opened, and what blanks those out of its output.
 * @throws ENVIRONMENT_TOO_LARGE.
 */
async function openEnvironment(tools: HostTools, workspace: string, { workflow_id: workflowId, env }: CommandInput) {
  const { fields, secrets } = await openFields(tools, { workflowId, workspace }, env);
  const opened = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, String(value)]));
  const bytes = Object.values(opened).reduce((sum, value) => sum + Buffer.byteLength(value), 0);
  if (bytes > MAX_ENVIRONMENT_BYTES) {
    throw new OperationError(
      'ENVIRONMENT_TOO_LARGE',
      `the script's environment has ${bytes} bytes with its secrets, but at most ${MAX_ENVIRONMENT_BYTES} are allowed.`,
    );
  }
  return { env: opened, mask: createMask(secrets.map((name) => opened[name])) };
}

/** Last lines of a host's output that its result tells. */
const TAIL_LINES = 20;

/** Runs a script on servers. It outlives a lost connection and a crash of this process: on a host it runs once. */
export function commandProcedure(tools: HostTools): Procedure {
  return defineProcedure<CommandInput>({
    kind: 'workflow.command',
    queue: () => TASKSERV_QUEUE,
    async run(input, context) {
      const outcomes = await onEachHost(context, tools, 'run on', input.hosts, (host, call, slots) =>
        inTurn(tools, host, call, slots, async (transport) => {
          const tail: string[] = [];
          const { env, mask } = await openEnvironment(tools, context.workspace, input);
          call.guard();
          const { exitCode, signal } = await runJob(transport, {
            id: `${call.operationId.replaceAll('-', '')}-command`,
            script: asShell(input.script),
            env,
            timeoutSeconds: input.timeout,
            signal: call.signal,
            label: 'command',
            onLine: ({ text: said, stream }, n) => {
              const text = mask(said);
              tail.push(text);
              if (tail.length > TAIL_LINES) tail.shift();
              return call.log(text, { host: host.hostname, stream, n });
            },
          });
          if (exitCode !== 0) {
            const last = tail.at(-1);
            throw new OperationError(
              'COMMAND_FAILED',
              `${host.hostname}: the script ended with ${exitCode === null ? `signal ${signal}` : `status ${exitCode}`}${last === undefined ? '' : `: ${last.slice(0, 500)}`}`,
            );
          }
          return { exit_code: exitCode, output: tail.join('\n') };
        }),
      );
      const failures = outcomes.flatMap((outcome) => (outcome.ok ? [] : [outcome.message]));
      if (failures.length > 0) {
        throw new OperationError(
          'HOSTS_FAILED',
          `${failures.length} of ${outcomes.length} servers: ${failures.join(' ')}`.slice(0, 4_000),
        );
      }
      return context.finish(async (tx) => {
        await leaveTurns(tx, context.operationId);
        return {
          hosts: outcomes.map((outcome) => ({
            server: outcome.host.hostname,
            server_id: outcome.host.server_id,
            ...(outcome.ok ? outcome.value : {}),
          })),
        };
      });
    },
    async compensate(tx, _input, { operationId }) {
      await leaveTurns(tx, operationId);
      return null;
    },
  });
}

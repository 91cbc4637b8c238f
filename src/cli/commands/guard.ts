import type { Client, Operation } from '../../sdk/client.ts';
import {
  type CommandArgument,
  type CommandDefinition,
  type CommandOption,
  given,
  type OptionValues,
  text,
} from '../command.ts';
import { UsageError } from '../errors.ts';
import type { Column } from '../output.ts';
import type { Session } from '../session.ts';
import { durationSeconds } from './parameters.ts';

/** Options of what creates something that can be guarded. */
export const GUARD_OPTIONS: readonly CommandOption[] = [
  { flags: '--protect', description: 'protect it from deletion' },
  { flags: '--ttl <duration>', description: 'delete it after this time: 30m, 8h, 14d (default: never)' },
  { flags: '--expires-at <time>', description: 'delete it at this time (RFC 3339)' },
];

/** A column that shows how something is guarded. */
export const GUARDS: Column = {
  heading: 'GUARDS',
  value: ({ protect, expires_at: expiry }: Pick<Guarded, 'expires_at'> & { protect: boolean }) =>
    [...(protect ? ['protected'] : []), ...(expiry === null ? [] : [`expires ${expiry}`])].join(', ') || null,
};

/** The fields of these options. */
export function guardsIn(options: OptionValues) {
  return given({
    protect: options.protect === true ? true : undefined,
    ttl: text(options, 'ttl'),
    expires_at: text(options, 'expiresAt'),
  });
}

interface Guarded {
  id: string;
  expires_at: string | null;
}

interface GuardChange {
  protect?: boolean;
  ttl?: string;
  expires_at?: string | null;
}

/** What is guarded: its words, and how it is found and changed. */
interface GuardedKind {
  type: 'server' | 'taskserv';
  example: string;
  argument: CommandArgument;
  workspace: CommandOption;
  find(client: Client, name: string, options: OptionValues): Promise<Guarded>;
  patch(client: Client, id: string, body: GuardChange, session: Session): Promise<Operation>;
}

/** Protecting something from deletion, and when it expires. */
export function guardCommands(kind: GuardedKind): readonly CommandDefinition[] {
  const { type, example, argument, workspace, find, patch } = kind;
  const command = (
    verb: string,
    about: Pick<CommandDefinition, 'summary' | 'examples'> & Partial<CommandDefinition>,
    changeOf: (thing: Guarded, options: OptionValues) => GuardChange,
  ): CommandDefinition => ({
    name: `${type} ${verb}`,
    ...about,
    arguments: [argument],
    options: [workspace, ...(about.options ?? [])],
    covers: [`PATCH /v1/${type}s/{id}`],
    operation: true,
    async run(session, [name = ''], options) {
      const client = await session.client();
      const thing = await find(client, name, options);
      await session.operation(await patch(client, thing.id, changeOf(thing, options), session));
    },
  });
  return [
    command(
      'protect',
      {
        summary: `protect a ${type} from deletion`,
        description:
          'Nothing can delete or recreate it, including rollbacks and its own expiry, until somebody with the permission "protection_remove" removes the protection.',
        examples: [`provisioning ${type} protect ${example}`],
      },
      () => ({ protect: true }),
    ),
    command(
      'unprotect',
      {
        summary: `remove the protection of a ${type}`,
        description: 'This needs the permission "protection_remove".',
        examples: [`provisioning ${type} unprotect ${example}`],
      },
      () => ({ protect: false }),
    ),
    command(
      'expire',
      {
        summary: `set when a ${type} is deleted automatically`,
        description: 'Events and webhooks announce the deletion in advance.',
        examples: [
          `provisioning ${type} expire ${example} --ttl 8h`,
          `provisioning ${type} expire ${example} --at 2030-01-31T18:00:00Z`,
          `provisioning ${type} expire ${example} --never`,
        ],
        options: [
          { flags: '--ttl <duration>', description: 'after this time: 30m, 8h, 14d' },
          { flags: '--at <time>', description: 'at this time (RFC 3339)' },
          { flags: '--never', description: 'never delete it automatically' },
        ],
      },
      (_thing, options) => expiryIn(options),
    ),
    command(
      'extend',
      {
        summary: `postpone the expiry of a ${type}`,
        description: 'The time is added to the present expiry, or to the present time if the expiry has passed.',
        examples: [`provisioning ${type} extend ${example} --ttl 4h`],
        options: [{ flags: '--ttl <duration>', description: 'how much longer: 30m, 4h, 7d', required: true }],
      },
      (thing, options) => later(type, thing, text(options, 'ttl') ?? ''),
    ),
  ];
}

/** @throws UsageError where it is not said once. */
function expiryIn(options: OptionValues): GuardChange {
  const [ttl, at, never] = [text(options, 'ttl'), text(options, 'at'), options.never === true];
  if ([ttl !== undefined, at !== undefined, never].filter(Boolean).length !== 1) {
    throw new UsageError('Give one of --ttl, --at and --never.');
  }
  if (ttl !== undefined) return { ttl };
  return { expires_at: at ?? null };
}

/** @throws UsageError where it does not expire. */
function later(type: GuardedKind['type'], { id, expires_at: expiry }: Guarded, ttl: string): GuardChange {
  if (expiry === null) {
    throw new UsageError(`${id} has no expiry to extend. Set one: provisioning ${type} expire ${id} --ttl ${ttl}`);
  }
  const seconds = durationSeconds('--ttl', ttl);
  if (Date.parse(expiry) <= Date.now()) return { ttl };
  return { expires_at: new Date(Date.parse(expiry) + seconds * 1_000).toISOString() };
}

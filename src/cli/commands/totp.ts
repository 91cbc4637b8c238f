import type { Client } from '../../sdk/client.ts';
import { type CommandDefinition, given } from '../command.ts';
import { UsageError } from '../errors.ts';
import type { Session } from '../session.ts';
import type { Terminal } from '../terminal.ts';

const VIEW = { name: 'enabled' };

/** A code of the authenticator app, from whoever sits at the terminal. */
export function askForCode(terminal: Terminal): Promise<string> {
  return terminal.ask('Code of the app, or a recovery code: ');
}

/** The own password, and a code where logins ask for one. @param lines both, where standard input has them. */
export async function proofOf({ terminal }: Session, client: Client, lines?: readonly string[]) {
  if (lines !== undefined) {
    const [password, totp] = lines;
    if (password === undefined) throw new UsageError('Your own password is asked for as well, in a line after that.');
    return { password, ...given({ totp }) };
  }
  const { enabled } = await client.get('/v1/auth/totp');
  const password = await terminal.ask('Your password: ', { hidden: true });
  return { password, ...given({ totp: enabled ? await askForCode(terminal) : undefined }) };
}

/** The second factor of your logins. */
export const totpCommands: readonly CommandDefinition[] = [
  {
    name: 'totp show',
    summary: 'show whether your logins ask for a code',
    examples: ['provisioning totp show'],
    covers: ['GET /v1/auth/totp'],
    async run(session) {
      session.record(await (await session.client()).get('/v1/auth/totp'), VIEW);
    },
  },
  {
    name: 'totp enable',
    summary: 'have your logins ask for a code of an authenticator app, or change the app',
    description: `It shows a secret for the app, asks for a code of it, and shows recovery codes: keep them where the app is not.
From then on logins ask for a code; API tokens do not.`,
    examples: ['provisioning totp enable'],
    covers: ['POST /v1/auth/totp', 'POST /v1/auth/totp/confirm'],
    async run(session, _args, options) {
      const { terminal } = session;
      const client = await session.client();
      const { secret, otpauth_url: url } = await client.post('/v1/auth/totp', { body: await proofOf(session, client) });
      if (options.check === true) {
        terminal.note('Without --check: a secret would be shown, and a code of it asked for.');
        return;
      }
      terminal.note(`Enter this secret in the app: ${secret}\nThe same as an address: ${url}`);
      const code = await terminal.ask('Code that the app shows: ');
      session.record(await client.post('/v1/auth/totp/confirm', { body: { code } }), VIEW);
    },
  },
  {
    name: 'totp disable',
    summary: 'have your logins ask for the password alone',
    examples: ['provisioning totp disable'],
    covers: ['POST /v1/auth/totp/remove'],
    async run(session) {
      const client = await session.client();
      await client.post('/v1/auth/totp/remove', { body: await proofOf(session, client) });
      session.done('Your logins ask for the password alone.', { enabled: false }, VIEW);
    },
  },
];

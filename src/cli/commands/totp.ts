import type { Client } from '../../sdk/client.ts';
import { type CommandDefinition, given } from '../command.ts';
import { UsageError } from '../errors.ts';
import type { Session } from '../session.ts';
import type { Terminal } from '../terminal.ts';

const VIEW = { name: 'enabled' };

/** A code of the authenticator app, from whoever sits at the terminal. */
export function askForCode(terminal: Terminal): Promise<string> {
  return terminal.ask('Code from the app, or a recovery code: ');
}

/** The own password, and a code where logins ask for one. @param lines both, where standard input has them. */
export async function proofOf({ terminal }: Session, client: Client, lines?: readonly string[]) {
  if (lines !== undefined) {
    const [password, totp] = lines;
    if (password === undefined)
      throw new UsageError('This also needs your own password, in the next line of standard input.');
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
    summary: 'show whether your logins need a code',
    examples: ['provisioning totp show'],
    covers: ['GET /v1/auth/totp'],
    async run(session) {
      session.record(await (await session.client()).get('/v1/auth/totp'), VIEW);
    },
  },
  {
    name: 'totp enable',
    summary: 'require a code from an authenticator app for your logins, or change the app',
    description: `It shows a secret for the app, asks for a code, and shows recovery codes. Store them in another place than the app.
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
      const code = await terminal.ask('Code from the app: ');
      session.record(await client.post('/v1/auth/totp/confirm', { body: { code } }), VIEW);
    },
  },
  {
    name: 'totp disable',
    summary: 'remove the second factor: logins need only the password',
    examples: ['provisioning totp disable'],
    covers: ['POST /v1/auth/totp/remove'],
    async run(session) {
      const client = await session.client();
      await client.post('/v1/auth/totp/remove', { body: await proofOf(session, client) });
      session.done('Second factor removed. Your logins need only the password.', { enabled: false }, VIEW);
    },
  },
];

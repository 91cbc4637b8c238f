/** Asks whoever came back from an issuer whether it was they who began a sign-in of a command line. */
import { createHash } from 'node:crypto';
import { harmlessText } from '../../util/harmless.ts';

/** What the command line shows, too: `1A2B-3C4D`, of the hash that it began with. */
export function codeOf(challenge: string): string {
  const hex = createHash('sha256').update(challenge).digest('hex').toUpperCase();
  return `${hex.slice(0, 4)}-${hex.slice(4, 8)}`;
}

/** Nothing is loaded or run, no other page shows it in a frame, and its form goes to this server and on to the port. */
export function pagePolicy(port: number): string {
  return `default-src 'none'; form-action 'self' http://127.0.0.1:${port}; frame-ancestors 'none'; base-uri 'none'`;
}

/** @param consent what the form sends back. */
export function commandLinePage(asked: { name: string; title: string; code: string; action: string; consent: string }) {
  const { name, title, code, action, consent } = asked;
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sign in on the command line</title></head>
<body>
<h1>Sign in on the command line of this computer?</h1>
<p>It would be signed in as <strong>${escaped(name)}</strong> of ${escaped(title)}.</p>
<p>Your terminal shows this code: <strong>${escaped(code)}</strong></p>
<p>If it does not, or somebody sent you a link to get here or asks for the address of the next page, close this page:
they would be signed in as you.</p>
<form method="post" action="${escaped(action)}"><input type="hidden" name="consent" value="${escaped(consent)}">
<button type="submit">My terminal shows this code: sign in</button></form>
</body>
</html>
`;
}

function escaped(text: string): string {
  return harmlessText(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

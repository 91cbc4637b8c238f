import { ApiError, type Client, createClient, type TokenStore, type Tokens } from '../../src/sdk/client.ts';

const KEY = 'provisioning.tokens';

/** Tokens live as long as the browser's tab: nothing of them is left behind when it is closed. */
const tokens: TokenStore = {
  read: async () => readTokens(),
  async update(next) {
    // Where the browser has locks, tabs that share a session renew one after another.
    const change = async () => {
      const changed = await next(readTokens());
      if (changed === null) sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, JSON.stringify(changed));
      return changed;
    };
    return navigator.locks === undefined ? change() : navigator.locks.request(KEY, change);
  },
};

function readTokens(): Tokens | null {
  const text = sessionStorage.getItem(KEY);
  return text === null ? null : (JSON.parse(text) as Tokens);
}

/** The API, with the tokens of whoever has signed in. */
export const client: Client = createClient({ url: location.origin, tokens, tries: 3 });

export function signedIn(): boolean {
  return readTokens() !== null;
}

/** For a session that the server has ended already. */
export async function forgetTokens(): Promise<void> {
  await tokens.update(async () => null);
}

/** Whether an error says that nobody is signed in any more. */
export function isSignedOut(error: unknown): boolean {
  return error instanceof ApiError && error.status === 401;
}

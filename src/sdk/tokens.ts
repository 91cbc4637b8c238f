/** What a login answers. A refresh token works once: using it answers the next one. */
export interface Tokens {
  token: string;
  /** Null for an API token, which is not refreshed. */
  refreshToken: string | null;
}

/** Where a client keeps its tokens. Several clients may share one store. */
export interface TokenStore {
  read(): Promise<Tokens | null>;
  /**
   * Replaces the tokens by what `next` makes of the present ones, one caller at a time: a refresh token that is used
   * twice ends the whole login.
   */
  update(next: (current: Tokens | null) => Promise<Tokens | null>): Promise<Tokens | null>;
}

/** Keeps tokens as long as the program runs. */
export function memoryTokens(tokens: Tokens | null): TokenStore {
  let current = tokens;
  let last: Promise<unknown> = Promise.resolve();
  return {
    read: async () => current,
    update(next) {
      const updated = last
        .catch(() => 'the caller before was told')
        .then(async () => {
          current = await next(current);
          return current;
        });
      last = updated;
      return updated;
    },
  };
}

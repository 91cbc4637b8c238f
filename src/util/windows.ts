/** How a key stands in its window: this try included. */
export interface Tries {
  tries: number;
  /** Milliseconds until the window ends. */
  left: number;
}

/**
 * Counts tries by key. A key's window begins with its first try; the next one begins when that has ended. The wall clock
 * has no part in it: set back, it would make a window last for as long.
 * @param keys remembered at most; the oldest window is forgotten first.
 */
export function createWindows(milliseconds: number, keys: number): (key: string) => Tries {
  const windows = new Map<string, { endsAt: number; tries: number }>();
  return (key) => {
    const now = performance.now();
    let window = windows.get(key);
    if (window === undefined || window.endsAt <= now) {
      windows.delete(key);
      window = { endsAt: now + milliseconds, tries: 0 };
      windows.set(key, window);
      const oldest = windows.keys().next().value;
      if (windows.size > keys && oldest !== undefined) windows.delete(oldest);
    }
    window.tries += 1;
    return { tries: window.tries, left: window.endsAt - now };
  };
}

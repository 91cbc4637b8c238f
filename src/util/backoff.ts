/** How waits between tries grow. `first` and `most` in one unit, that of the result. */
export interface Backoff {
  first: number;
  most: number;
  /** By how much each wait is longer than the one before. */
  factor?: number;
  /** The share of a wait, 0 to 1, that chance may take off, so that many who failed together do not come back together. */
  jitter?: number;
}

/** The wait after the given number of tries. */
export function backoff(tries: number, { first, most, factor = 2, jitter = 0.5 }: Backoff): number {
  return Math.min(most, first * factor ** (tries - 1)) * (1 - jitter * Math.random());
}

/** What a benchmark says: lines of one table. */
export interface Line {
  what: string;
  /** With its unit. */
  ours: string;
  /** The bare floor, measured in the same run; empty where there is none. */
  floor: string;
  /** Medians over the rounds: ours to the floor, and from the worst to the best round. */
  ratio: { median: number; least: number; most: number } | null;
  /** What the ratio should be; null where nothing was set. */
  aim: { atLeast: number } | { atMost: number } | null;
}

/** A benchmark that `npm run bench` knows by its name. */
export interface Benchmark {
  name: string;
  /** One line: what is compared with what. */
  about: string;
  /** What has to be installed first, and how; null where nothing is missing. Absent: it needs nothing. */
  missing?(): Promise<string | null>;
  run(log: (line: string) => void): Promise<Line[]>;
}

/** The middle one; of an even number the lower of the two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}

/** One round: ours and the floor, measured right after each other. */
export interface Pair {
  ours: number;
  floor: number;
}

/**
 * Measures both in turn, so that whatever else the machine does meets both alike. The first round warms up and does
 * not count; every second one begins with the floor.
 */
export async function alternate(
  rounds: number,
  ours: () => Promise<number>,
  floor: () => Promise<number>,
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const floorFirst = round % 2 === 1 ? await floor() : null;
    const our = await ours();
    const pair = { ours: our, floor: floorFirst ?? (await floor()) };
    if (round > 0) pairs.push(pair);
  }
  return pairs;
}

/** A line from rounds of both. The ratio is that of each round, then the median of these. */
export function compare(what: string, pairs: readonly Pair[], unit: string, aim: Line['aim']): Line {
  const ratios = pairs.map((pair) => pair.ours / pair.floor);
  return {
    what,
    ours: `${format(median(pairs.map((pair) => pair.ours)))} ${unit}`,
    floor: `${format(median(pairs.map((pair) => pair.floor)))} ${unit}`,
    ratio: { median: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) },
    aim,
  };
}

/** A line without a floor. */
export function plain(what: string, values: readonly number[], unit: string): Line {
  return { what, ours: `${format(median(values))} ${unit}`, floor: '', ratio: null, aim: null };
}

/** Three digits that count. */
function format(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3);
}

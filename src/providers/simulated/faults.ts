import { generator } from '../../util/random.ts';

/** Probabilities, 0 to 1, of what may go wrong at a call of the simulated cloud. */
export interface SimulatedFaults {
  /** A change takes effect, but its answer never arrives. */
  lost_answer: number;
  /** 429, before any effect; at reads as well. */
  rate_limited: number;
  /** 5xx, before any effect. */
  server_error: number;
  /** A create makes the server but does not switch it on: to be finished by ensuring it again. */
  half_created: number;
  /** A created server never comes up. */
  stuck: number;
  /** A deletion takes twenty times as long. */
  slow_delete: number;
  /** A deletion is refused for good, as that of a protected server: asking again with another operation may succeed. */
  delete_refused: number;
  /** No connection to a server can be made: nothing runs. */
  unreachable: number;
  /** The connection to a server is lost while a script runs: it has run all the same. */
  connection_lost: number;
  /** A script on a server ends with status 1. */
  script_fails: number;
  /** No probability: a number above 0 draws the same chances in the same order at each start. */
  seed: number;
}

const NONE: SimulatedFaults = {
  lost_answer: 0,
  rate_limited: 0,
  server_error: 0,
  half_created: 0,
  stuck: 0,
  slow_delete: 0,
  delete_refused: 0,
  unreachable: 0,
  connection_lost: 0,
  script_fails: 0,
  seed: 0,
};
const MAX_SEED = 2 ** 32 - 1;

/**
 * Reads `lost_answer=0.2,rate_limited=0.1`. Empty text: no faults.
 * @throws Error naming what is unknown or no probability, with what would be right.
 */
export function parseFaults(text: string): SimulatedFaults {
  const faults = { ...NONE };
  const parts = text.split(',').map((part) => part.trim());
  for (const part of parts.filter((item) => item !== '')) {
    const [name = '', value = ''] = part.split(/=(.*)/s).map((item) => item.trim());
    if (!isFault(name)) throw new Error(`unknown fault "${name}"; known: ${Object.keys(NONE).join(', ')}`);
    const probability = Number(value);
    if (name === 'seed') {
      if (!(/^\d+$/.test(value) && probability <= MAX_SEED)) {
        throw new Error(`"seed" needs a whole number from 0 to ${MAX_SEED}, not "${value}"`);
      }
      faults.seed = probability;
      continue;
    }
    if (value === '' || !(probability >= 0 && probability <= 1)) {
      throw new Error(
        `fault "${name}" needs a probability from 0 to 1, not "${value}"; known: ${Object.keys(NONE).join(', ')}`,
      );
    }
    faults[name] = probability;
  }
  return faults;
}

function isFault(name: string): name is keyof SimulatedFaults {
  return Object.hasOwn(NONE, name);
}

const generators = new WeakMap<SimulatedFaults, () => number>();

/** Draws whether this fault happens now. */
export function happens(faults: SimulatedFaults, fault: Exclude<keyof SimulatedFaults, 'seed'>): boolean {
  const probability = faults[fault];
  if (!(probability > 0)) return false;
  const random = generators.get(faults) ?? (faults.seed === 0 ? Math.random : generator(faults.seed));
  generators.set(faults, random);
  return random() < probability;
}

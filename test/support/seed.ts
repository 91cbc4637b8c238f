/**
 * The one number behind all that tests leave to chance: moments of kills, faults of clouds, generated input. It is printed,
 * and PROVISIONING_TEST_SEED draws the same again.
 */
import { generator } from '../../src/util/random.ts';

/** Whole, from 0 to 2^31 - 1. */
export const SEED = Number(process.env.PROVISIONING_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));

let told = false;

/** The seed, printed once by each test file that uses it. */
export function tellSeed(): number {
  if (!told) process.stdout.write(`PROVISIONING_TEST_SEED=${SEED}\n`);
  told = true;
  return SEED;
}

/** Numbers from 0 to 1 for one test, in the same order each time that it runs with this seed. */
export function chances(): () => number {
  return generator(tellSeed());
}

/** Longer numbers may have digits that are lost. */
const SAFE_LENGTH = 15;

/**
 * What would happen to a number of a JSON or YAML text that is read as a double, where another one would be kept: past
 * ±2^53 a neighbor, of too many digits the first ones, of one that is too small zero. Null where it is kept as written.
 */
export function numberProblem(written: string): string | null {
  const value = Number(written);
  if (Number.isNaN(value)) return 'is not a number that JSON can hold';
  if (Math.abs(value) > Number.MAX_SAFE_INTEGER)
    return `is a number past ±${Number.MAX_SAFE_INTEGER}, which would not be kept exactly: write it as a string`;
  const decimal = !/^0[xo]/.test(written);
  if (!decimal || (written.length <= SAFE_LENGTH && !/e/i.test(written))) return null;
  if (digitsOf(written) === digitsOf(String(value))) return null;
  return `is a number that would be kept as ${value}: write it as a string`;
}

/** One text for all ways to write a number: `1.50`, `15e-1` and `+01.5` are `15e-1`. */
function digitsOf(written: string): string {
  const [, sign, whole = '', fraction = '', exponent = '0'] =
    /^([-+]?)(\d*)\.?(\d*)(?:e([-+]?\d+))?$/i.exec(written) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  let length = digits.length;
  while (digits[length - 1] === '0') length -= 1;
  if (length === 0) return '0';
  const scale = Number(exponent) - fraction.length + digits.length - length;
  return `${sign === '-' ? '-' : ''}${digits.slice(0, length)}e${scale}`;
}

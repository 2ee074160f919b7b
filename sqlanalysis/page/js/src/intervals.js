// Shares with their intervals, and the format of numbers, as in sql/metrics and words.py.
const Z = 1.959963984540054; // the normal quantile of 0.975

/** Wilson's 95 % score interval for k of n, as [low, high]; null when n is 0. */
export function wilson(k, n) {
  if (!n) return null;
  const middle = k + (Z * Z) / 2;
  const half = Z * Math.sqrt(k * (1 - k / n) + (Z * Z) / 4);
  return [k === 0 ? 0 : (middle - half) / (n + Z * Z), k === n ? 1 : (middle + half) / (n + Z * Z)];
}

/** toFixed with Python's rounding: for an exact tie, Python rounds to the even digit and toFixed rounds up. */
function fixed(value, digits) {
  const scaled = value * 2 ** (digits + 1);
  const tie = Number.isInteger(scaled) && scaled % 2 === 1;
  const up = value.toFixed(digits);
  return tie && Number(up.at(-1)) % 2 ? (value - 10 ** -(digits + 1)).toFixed(digits) : up;
}

/** A share as a percentage with one decimal; two if it would be rounded to 0% or 100%. */
export function percent(share) {
  if (share === null || Number.isNaN(share)) return "–";
  const text = fixed(share * 100, 1);
  const claims = (text === "0.0" || text === "100.0") && share !== 0 && share !== 1;
  return `${claims ? fixed(share * 100, 2) : text}%`;
}

export const interval = (ends) => (ends ? `${percent(ends[0]).slice(0, -1)}–${percent(ends[1])}` : "–");
export const count = (n) => n.toLocaleString("en-US");

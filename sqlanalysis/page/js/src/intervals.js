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
export function fixed(value, digits) {
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

/** A difference of two shares in points, with its sign. */
export function points(share, digits = 1) {
  if (share === null || Number.isNaN(share)) return "–";
  const text = fixed(Math.abs(share * 100), digits);
  return `${share < 0 || Object.is(share, -0) ? "−" : "+"}${text}`;
}
export const pointsInterval = (ends) => (ends ? `${points(ends[0])} to ${points(ends[1])}` : "–");
export const pValue = (p) => (p === null ? "–" : p < 0.001 ? "< 0.001" : fixed(p, 3));

export const interval = (ends) => (ends ? `${percent(ends[0]).slice(0, -1)}–${percent(ends[1])}` : "–");
export const count = (n) => n.toLocaleString("en-US");
/** "1 image", "2 images". */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** The probabilities of a binomial distribution from `first` on, as far as they matter, by ratios from the likeliest on. */
function binomial(n, p) {
  if (p <= 0 || p >= 1) return { first: p <= 0 ? 0 : n, chances: [1] };
  const middle = Math.min(n, Math.floor((n + 1) * p));
  const odds = p / (1 - p);
  const [below, above] = [[], [1]];
  for (let k = middle, w = 1; k > 0 && w > 1e-20; k--) below.push((w *= k / (n - k + 1) / odds));
  for (let k = middle, w = 1; k < n && w > 1e-20; k++) above.push((w *= ((n - k) / (k + 1)) * odds));
  const chances = [...below.reverse(), ...above];
  const total = chances.reduce((sum, w) => sum + w, 0);
  return { first: middle - below.length, chances: chances.map((w) => w / total) };
}

/** The chance of at least k of n. */
export function atLeast(k, n, p) {
  const { first, chances } = binomial(n, p);
  let sum = 0;
  for (let at = chances.length - 1; at >= Math.max(0, k - first); at--) sum += chances[at];
  return Math.min(1, sum);
}

/** The least counts that 2.5 % and 97.5 % of all draws do not exceed. */
export function chanceRange(n, p) {
  const { first, chances } = binomial(n, p);
  const reach = (share) => {
    let [at, sum] = [0, chances[0]];
    while (sum < share && at < chances.length - 1) sum += chances[++at];
    return first + at;
  };
  return [reach(0.025), reach(0.975)];
}

/** McNemar's exact test, two-sided: a and b images that only one of two runs gets right. */
export const signTest = (a, b) => (a === b ? 1 : Math.min(1, 2 * atLeast(Math.max(a, b), a + b, 0.5)));

/** The 95 % interval of a paired difference of shares, as compare_classes gives it: it holds 0 where the test does not reject. */
export function pairedEnds(a, b, n) {
  if (!n) return null;
  const end = (sign) => {
    const root = Z * Math.sqrt(a + b + 1 - (a - b) ** 2 / (n + 2));
    return Math.max(-1, (sign * (a - b) - root) / (n + 2));
  };
  const open = signTest(a, b) > 0.05;
  const hold = (low) => (low > 0 && open ? 0 : low);
  return [hold(end(1)), 0 - hold(end(-1))];
}

/** Holm's correction: p-values, each as large as all tests together make it. */
export function holm(values) {
  const order = values.map((_, at) => at).sort((a, b) => values[a] - values[b]);
  const corrected = new Array(values.length);
  let most = 0;
  order.forEach((at, rank) => (corrected[at] = most = Math.min(1, Math.max(most, values[at] * (values.length - rank)))));
  return corrected;
}

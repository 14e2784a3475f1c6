// How the ledger judges (lib/paper/ledger.py): a t-interval over seeds and a bound.

// Lanczos' approximation of log Gamma(x), x > 0.
function logGamma(x) {
  const terms = [
    676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905,
    -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  const t = x + 6.5;
  const sum = terms.reduce((total, term, i) => total + term / (x + i), 0.99999999999980993);
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

// The regularized incomplete beta function I_x(a, b), by its continued fraction (Lentz's method).
function incompleteBeta(x, a, b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  let [c, d] = [1, 1 / (1 - ((a + b) * x) / (a + 1))];
  let value = d;
  for (let m = 1; m < 500; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    let change = 1;
    for (const term of [even, odd]) {
      d = 1 / (1 + term * d);
      c = 1 + term / c;
      change = c * d;
      value *= change;
    }
    if (Math.abs(change - 1) < 1e-16) break;
  }
  return front * value;
}

// The t with P(|T| < t) = level for Student's T of `freedom` degrees, by bisection.
export function tQuantile(level, freedom) {
  const inside = (t) => 1 - incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5);
  let [low, high] = [0, 1];
  while (inside(high) < level) high *= 2;
  while (high - low > 1e-15 * high) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) break;
    if (inside(middle) < level) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

// Mean and ends of the interval over values; the ends are NaN for fewer than two, and where one is not finite.
export function interval(values, level = 0.95) {
  const n = values.length;
  const mean = values.reduce((sum, x) => sum + (x === null ? NaN : x), 0) / n;
  if (n < 2 || !Number.isFinite(mean)) return [mean, NaN, NaN];
  const spread = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1) / n);
  const half = spread === 0 ? 0 : tQuantile(level, n - 1) * spread;
  return [mean, mean - half, mean + half];
}

// The verdict on values by a rule {side, bound, tolerance} that wants at least `enough` seeds to be reproduced.
export function verdict({ side, bound, tolerance }, values, enough, level = 0.95) {
  if (!values.length) return "not measured yet";
  const [mean, low, high] = interval(values, level);
  if (!Number.isFinite(mean)) return "not testable";
  let near, certain;
  if (side === "within") {
    near = Math.abs(mean - bound) <= tolerance;
    certain = near && bound - low <= tolerance && high - bound <= tolerance;
  } else {
    const sign = side === "above" ? 1 : -1;
    near = sign * (mean - bound) > 0;
    certain = sign * ((sign > 0 ? low : high) - bound) > 0;
  }
  if (!near) return "not reproduced";
  return certain && values.length >= enough ? "reproduced" : "partly";
}

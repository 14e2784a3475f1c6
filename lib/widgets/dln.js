// The deep linear network of appendix A.1, trained through its moments as lib/models/moments.py does, in float64.
//
// Matrices are Float64Arrays, row after row. Layer inputs Q and outputs have d = 10 rows and d + 1 columns: with orthonormal
// rows `samples` [d+1, n], whose last is constant, a layer's outputs over all n samples are V @ samples.

// Torch's generator (the Mersenne twister), so that a seed draws here what it draws in Python.
export function generator(seed) {
  const state = new Uint32Array(624);
  state[0] = seed;
  for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  let at = 624;
  const twist = () => {
    for (let i = 0; i < 624; i++) {
      const mixed = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
      state[i] = state[(i + 397) % 624] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    at = 0;
  };
  const word = () => {
    if (at === 624) twist();
    let y = state[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
  // A float64 from [0, 1): the lower 53 bits of two words.
  return () => ((word() & 0x1fffff) * 2 ** 32 + word()) / 2 ** 53;
}

// `size` (at least 16) standard normal numbers as torch.randn draws them in float64: sixteen at a time, eight pairs.
export function randn(next, size) {
  const values = Float64Array.from({ length: size }, next);
  const pairs = (first) => {
    for (let i = first; i < first + 8; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - values[i]));
      const angle = 2 * Math.PI * values[i + 8];
      values[i] = radius * Math.cos(angle);
      values[i + 8] = radius * Math.sin(angle);
    }
  };
  for (let first = 0; first + 16 <= size; first += 16) pairs(first);
  if (size % 16) {
    for (let i = size - 16; i < size; i++) values[i] = next();
    pairs(size - 16);
  }
  return values;
}

// The starting weights of `layers` layers, [layers * d * d]: Glorot uniform.
export function glorot(seed, layers, d) {
  const next = generator(10007 + seed);
  const bound = Math.sqrt(6 / (2 * d));
  return Float64Array.from({ length: layers * d * d }, () => next() * 2 * bound - bound);
}

// The data of one seed: inputs Q_0 and targets T = A Q_0, both [d, d+1], of n samples x and y = A x.
export function moments(seed, n, d) {
  const next = generator(seed);
  const x = randn(next, n * d);
  const a = randn(next, d * d);
  const means = new Float64Array(d);
  for (let i = 0; i < n; i++) for (let j = 0; j < d; j++) means[j] += x[i * d + j] / n;
  // With root the Cholesky factor of the centred x's moments, x.T @ samples.T is root beside sqrt(n) times the means.
  const root = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let s = 0; s < n; s++) sum += (x[s * d + i] - means[i]) * (x[s * d + j] - means[j]);
      for (let k = 0; k < j; k++) sum -= root[i * d + k] * root[j * d + k];
      root[i * d + j] = i === j ? Math.sqrt(sum) : sum / root[j * d + j];
    }
  }
  const inputs = new Float64Array(d * (d + 1));
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) inputs[i * (d + 1) + j] = root[i * d + j];
    inputs[i * (d + 1) + d] = Math.sqrt(n) * means[i];
  }
  const targets = new Float64Array(inputs.length);
  product(a, 0, inputs, targets);
  return { inputs, targets };
}

// The three products below are written out for the paper's ten units: that takes a third of the time of inner loops.

// out [10, 11] = W @ q for the 10 x 10 matrix W that begins at `offset` of `weights`.
function product(weights, offset, q, out) {
  for (let i = 0; i < 10; i++) rowTimes(weights, offset + 10 * i, 1, q, out, 11 * i);
}

// out [10, 11] = W.T @ q.
function transposedProduct(weights, offset, q, out) {
  for (let i = 0; i < 10; i++) rowTimes(weights, offset + i, 10, q, out, 11 * i);
}

// Eleven numbers of `out`, from `to` on: those at `from`, `from + every`, ... of `w` times q [10, 11].
function rowTimes(w, from, every, q, out, to) {
  const w0 = w[from], w1 = w[from + every], w2 = w[from + 2 * every], w3 = w[from + 3 * every], w4 = w[from + 4 * every];
  const w5 = w[from + 5 * every], w6 = w[from + 6 * every], w7 = w[from + 7 * every], w8 = w[from + 8 * every];
  const w9 = w[from + 9 * every];
  for (let j = 0; j < 11; j++) {
    out[to + j] =
      w0 * q[j] + w1 * q[j + 11] + w2 * q[j + 22] + w3 * q[j + 33] + w4 * q[j + 44] +
      w5 * q[j + 55] + w6 * q[j + 66] + w7 * q[j + 77] + w8 * q[j + 88] + w9 * q[j + 99];
  }
}

// The 10 x 10 numbers of `out` from `offset` on = a @ b.T for a and b [10, 11].
function outer(a, b, out, offset) {
  for (let i = 0; i < 10; i++) {
    const r = 11 * i;
    const a0 = a[r], a1 = a[r + 1], a2 = a[r + 2], a3 = a[r + 3], a4 = a[r + 4], a5 = a[r + 5];
    const a6 = a[r + 6], a7 = a[r + 7], a8 = a[r + 8], a9 = a[r + 9], a10 = a[r + 10];
    for (let j = 0; j < 10; j++) {
      const s = 11 * j;
      out[offset + 10 * i + j] =
        a0 * b[s] + a1 * b[s + 1] + a2 * b[s + 2] + a3 * b[s + 3] + a4 * b[s + 4] + a5 * b[s + 5] +
        a6 * b[s + 6] + a7 * b[s + 7] + a8 * b[s + 8] + a9 * b[s + 9] + a10 * b[s + 10];
    }
  }
}

// One network and its data: loss, gradient and probes at any weights. norm: "none", "batchnorm" or "l2".
export class Network {
  constructor({ seed, layers, norm, gamma, samples = 1000 }) {
    const d = 10;
    Object.assign(this, moments(seed, samples, d), { layers, norm, gamma, samples, d });
    this.weights = glorot(seed, layers, d);
    const matrix = () => new Float64Array(d * (d + 1));
    this.q = [this.inputs, ...Array.from({ length: layers - 1 }, matrix)]; // inputs of each layer
    // What each normalization divided by and the means that it took away, [d] each.
    this.norms = this.q.map(() => ({ scales: new Float64Array(d), means: new Float64Array(d) }));
    this.outputs = matrix();
    this.buffers = [matrix(), matrix()];
    this.moved = new Float64Array(this.weights.length);
    this.there = new Float64Array(this.weights.length);
  }

  // Normalizes a layer's outputs V in place: Q = gamma V / s without the mean.
  normalize(v, { scales, means }) {
    const { d, gamma, samples, norm } = this;
    for (let i = 0; i < d; i++) {
      const end = i * (d + 1) + d;
      let sum = norm === "l2" ? v[end] * v[end] : 0; // BatchNorm's scale leaves the mean out
      for (let j = end - d; j < end; j++) sum += v[j] * v[j];
      scales[i] = Math.sqrt(sum / samples);
      means[i] = v[end];
      for (let j = end - d; j < end; j++) v[j] *= gamma / scales[i];
      v[end] = 0;
    }
  }

  // Turns the gradient with respect to Q, in place, into that with respect to V: Q moves with V and with its scale s(V).
  back(delta, q, { scales, means }) {
    const { d, gamma, samples, norm } = this;
    for (let i = 0; i < d; i++) {
      const end = i * (d + 1) + d;
      let along = 0;
      for (let j = end - d; j < end; j++) along += delta[j] * q[j];
      along /= scales[i];
      // ds/dV is V / (n s), and V is s Q / gamma but for the mean.
      for (let j = end - d; j < end; j++) delta[j] = (delta[j] * gamma) / scales[i] - (along * q[j]) / (gamma * samples);
      delta[end] = norm === "l2" ? (-along * means[i]) / (samples * scales[i]) : 0;
    }
  }

  // The loss at `weights`; writes its gradient, and leaves the outputs in `outputs`.
  at(weights, gradient) {
    const { d, layers, q, norms, outputs, targets } = this;
    for (let layer = 0; layer < layers - 1; layer++) {
      product(weights, layer * d * d, q[layer], q[layer + 1]);
      if (this.norm !== "none") this.normalize(q[layer + 1], norms[layer]);
    }
    product(weights, (layers - 1) * d * d, q[layers - 1], outputs);
    let [delta, spare] = this.buffers;
    let loss = 0;
    for (let i = 0; i < outputs.length; i++) {
      const error = outputs[i] - targets[i];
      loss += error * error;
      delta[i] = 2 * error;
    }
    for (let layer = layers - 1; layer > 0; layer--) {
      outer(delta, q[layer], gradient, layer * d * d);
      transposedProduct(weights, layer * d * d, delta, spare);
      [delta, spare] = [spare, delta];
      if (this.norm !== "none") this.back(delta, q[layer], norms[layer - 1]);
    }
    outer(delta, q[0], gradient, 0);
    return loss;
  }

  // Along the gradient at W: for each multiple c of the step size, the loss and |g(W - c step g) - g|; and the largest
  // |g(W - c step g) - g| / (c step |g|), the effective smoothness beta.
  probe(gradient, stepSize, lengths) {
    const { weights, moved, there } = this;
    const size = norm(gradient);
    const found = { loss: [], change: [], beta: 0 };
    for (const length of lengths) {
      for (let i = 0; i < weights.length; i++) moved[i] = weights[i] - length * stepSize * gradient[i];
      found.loss.push(this.at(moved, there));
      let sum = 0;
      for (let i = 0; i < there.length; i++) sum += (there[i] - gradient[i]) ** 2;
      found.change.push(Math.sqrt(sum));
      const beta = Math.sqrt(sum) / (length * stepSize * size);
      if (!(beta <= found.beta)) found.beta = beta; // what is not a number stays
    }
    return found;
  }
}

function norm(values) {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

// Singular values, largest first, of a matrix [d, columns]: its rows are turned in pairs until they are orthogonal.
export function singularValues(matrix, d) {
  const columns = matrix.length / d;
  const rows = Array.from({ length: d }, (_, i) => matrix.slice(i * columns, (i + 1) * columns));
  const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
  for (let sweep = 0, turned = true; turned && sweep < 40; sweep++) {
    turned = false;
    for (let i = 0; i < d; i++) {
      for (let j = i + 1; j < d; j++) {
        const [a, b, c] = [dot(rows[i], rows[i]), dot(rows[j], rows[j]), dot(rows[i], rows[j])];
        if (!(Math.abs(c) > 1e-15 * Math.sqrt(a * b))) continue;
        turned = true;
        const zeta = (b - a) / (2 * c);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + t * t);
        for (let k = 0; k < columns; k++) {
          const [x, y] = [rows[i][k], rows[j][k]];
          rows[i][k] = cosine * (x - t * y);
          rows[j][k] = cosine * (t * x + y);
        }
      }
    }
  }
  return rows.map((row) => Math.sqrt(dot(row, row))).sort((a, b) => b - a);
}

// Gradient descent on one network. `settings` are Network's, and step_size, every and lengths of the probes.
export class Training {
  constructor(settings) {
    this.settings = settings;
    this.network = new Network(settings);
    this.gradient = new Float64Array(this.network.weights.length);
    this.step = 0;
    this.diverged = false;
    this.targetSizes = singularValues(this.network.targets, this.network.d);
  }

  // One step; returns the loss before it and, every `every` steps, what the probe finds there.
  advance() {
    const { step_size: stepSize, every, lengths } = this.settings;
    const { network, gradient } = this;
    const loss = network.at(network.weights, gradient);
    const found = { step: this.step, loss };
    if (this.step % every === 0) {
      found.sizes = singularValues(network.outputs, network.d);
      found.probe = network.probe(gradient, stepSize, lengths);
      found.norm = norm(gradient);
    }
    for (let i = 0; i < gradient.length; i++) network.weights[i] -= stepSize * gradient[i];
    this.diverged ||= !Number.isFinite(loss);
    this.step += 1;
    return found;
  }
}

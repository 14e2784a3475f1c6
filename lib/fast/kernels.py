"""Compiled loops for the deep linear networks on a CPU: eight networks side by side.

The same mathematics as `lib.models.moments`, whose notation this module keeps; there, tensor operations of ten by ten
cost more in overhead than in arithmetic. The last axis of every array here is the lane, one network each, so that a
processor's vector unit works on eight networks at once. On one thread the tensor operations take 2 to 7 times as long
for l1 and linf, and 4 to 50 times for the other norms: the more, the fewer networks there are at once.
"""

from __future__ import annotations

import numba
import numpy as np

numba.config.SLP_VECTORIZE = 1  # off by default; without it the eight sums of a product stay scalar
LANES = 8
_options = {"cache": True, "nogil": True, "error_model": "numpy"}
#: Reordering sums and fusing multiplications with additions; NaN and infinity keep their meaning.
_compiled = numba.njit(**_options, fastmath={"contract", "reassoc", "nsz"})

NONE, BATCHNORM, L1, L2, LINF = range(5)
NORMS = {"none": NONE, "batchnorm": BATCHNORM, "l1": L1, "l2": L2, "linf": LINF}


@numba.njit(inline="always")
def _at(a, i, j, lane):
    return a[i, j, lane]


@numba.njit(inline="always")
def _turned(a, i, j, lane):
    return a[j, i, lane]


def _multiplication(left, right):
    """A function that makes out [p, r, 8] = a @ b, lane by lane, over an inner dimension q.

    `left` and `right` read a and b as they are, or turned.
    """

    # Without "reassoc": where a sum may not be reordered, the lanes are all there is to vectorize, and that is the fast
    # way.
    @numba.njit(**_options, fastmath={"contract", "nsz"})
    def multiply(a, b, q, out):
        last = out.shape[1] - 1
        for i in range(out.shape[0]):
            for j in range(0, last + 1, 3):  # three columns share what is read of `a`
                k, n = min(j + 1, last), min(j + 2, last)  # at the edge a column is found again
                s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
                t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = 0.0
                u0 = u1 = u2 = u3 = u4 = u5 = u6 = u7 = 0.0
                for m in range(q):
                    s0 += left(a, i, m, 0) * right(b, m, j, 0)
                    s1 += left(a, i, m, 1) * right(b, m, j, 1)
                    s2 += left(a, i, m, 2) * right(b, m, j, 2)
                    s3 += left(a, i, m, 3) * right(b, m, j, 3)
                    s4 += left(a, i, m, 4) * right(b, m, j, 4)
                    s5 += left(a, i, m, 5) * right(b, m, j, 5)
                    s6 += left(a, i, m, 6) * right(b, m, j, 6)
                    s7 += left(a, i, m, 7) * right(b, m, j, 7)
                    t0 += left(a, i, m, 0) * right(b, m, k, 0)
                    t1 += left(a, i, m, 1) * right(b, m, k, 1)
                    t2 += left(a, i, m, 2) * right(b, m, k, 2)
                    t3 += left(a, i, m, 3) * right(b, m, k, 3)
                    t4 += left(a, i, m, 4) * right(b, m, k, 4)
                    t5 += left(a, i, m, 5) * right(b, m, k, 5)
                    t6 += left(a, i, m, 6) * right(b, m, k, 6)
                    t7 += left(a, i, m, 7) * right(b, m, k, 7)
                    u0 += left(a, i, m, 0) * right(b, m, n, 0)
                    u1 += left(a, i, m, 1) * right(b, m, n, 1)
                    u2 += left(a, i, m, 2) * right(b, m, n, 2)
                    u3 += left(a, i, m, 3) * right(b, m, n, 3)
                    u4 += left(a, i, m, 4) * right(b, m, n, 4)
                    u5 += left(a, i, m, 5) * right(b, m, n, 5)
                    u6 += left(a, i, m, 6) * right(b, m, n, 6)
                    u7 += left(a, i, m, 7) * right(b, m, n, 7)
                out[i, j, 0], out[i, j, 1], out[i, j, 2], out[i, j, 3] = s0, s1, s2, s3
                out[i, j, 4], out[i, j, 5], out[i, j, 6], out[i, j, 7] = s4, s5, s6, s7
                out[i, k, 0], out[i, k, 1], out[i, k, 2], out[i, k, 3] = t0, t1, t2, t3
                out[i, k, 4], out[i, k, 5], out[i, k, 6], out[i, k, 7] = t4, t5, t6, t7
                out[i, n, 0], out[i, n, 1], out[i, n, 2], out[i, n, 3] = u0, u1, u2, u3
                out[i, n, 4], out[i, n, 5], out[i, n, 6], out[i, n, 7] = u4, u5, u6, u7

    return multiply


_product = _multiplication(_at, _at)
_turned_product = _multiplication(_turned, _at)
_product_turned = _multiplication(_at, _turned)


@_compiled
def _gather(values, networks, used, out):
    """The first `used` lanes of out [k, d, d, 8] = those `networks` [8] of values [k, S, d, d]."""
    for layer in range(out.shape[0]):
        for lane in range(used):
            for i in range(out.shape[1]):
                for m in range(out.shape[2]):
                    out[layer, i, m, lane] = values[layer, networks[lane], i, m]


@_compiled
def _scatter(values, lane, out, network):
    """out [k, S, d, d] of one network = one lane of values [k, d, d, 8]."""
    for layer in range(values.shape[0]):
        for i in range(values.shape[1]):
            for m in range(values.shape[2]):
                out[layer, network, i, m] = values[layer, i, m, lane]


@_compiled
def _move(w, direction, distances, step):
    """w -= distances [8] times direction, all [k, d, d, 8], in two passes.

    In one pass the two roundings could be fused into one; so the point one step size away is bit for bit the one that
    training goes to.
    """
    for layer in range(w.shape[0]):
        for i in range(w.shape[1]):
            for m in range(w.shape[2]):
                for lane in range(LANES):
                    step[layer, i, m, lane] = distances[lane] * direction[layer, i, m, lane]
    for layer in range(w.shape[0]):
        for i in range(w.shape[1]):
            for m in range(w.shape[2]):
                for lane in range(LANES):
                    w[layer, i, m, lane] -= step[layer, i, m, lane]


@_compiled
def _squared_distance(a, b, out):
    """out [8] = |a - b|^2 of a, b [k, d, d, 8]."""
    out[:] = 0.0
    for layer in range(a.shape[0]):
        for i in range(a.shape[1]):
            for m in range(a.shape[2]):
                for lane in range(LANES):
                    out[lane] += (a[layer, i, m, lane] - b[layer, i, m, lane]) ** 2


@_compiled
def _dot(vector, samples, index):
    total = 0.0
    for j in range(vector.shape[0]):
        total += vector[j] * samples[j, index]
    return total


@_compiled
def _largest(y):
    """The largest |y|, as the integer with its bits: these order as the numbers do, and are compared eight at once."""
    bits = y.view(np.int32)
    largest = np.int32(0)
    for index in range(bits.shape[0]):
        largest = max(largest, bits[index] & np.int32(0x7FFFFFFF))
    return largest


@_compiled
def _bits(value):
    holder = np.empty(1, np.float32)
    holder[0] = value
    return holder.view(np.int32)[0]


@_compiled
def _number(bits):
    holder = np.empty(1, np.int32)
    holder[0] = bits
    return holder.view(np.float32)[0]


@_compiled
def _at_least(y, bound):
    """How many |y| have bits of at least `bound`, and the sum of their positions."""
    bits = y.view(np.int32)
    found, positions = np.int32(0), np.int32(0)
    for index in range(bits.shape[0]):
        reached = (bits[index] & np.int32(0x7FFFFFFF)) >= bound
        found += np.int32(reached)
        positions += np.int32(index) if reached else np.int32(0)
    return found, positions


@_compiled
def _any_within(y, bound):
    """Whether some |y| is at most `bound`."""
    found = np.float32(0)
    for index in range(y.shape[0]):
        found += np.float32(1) if abs(y[index]) <= bound else np.float32(0)
    return found > 0


@_compiled
def _rounded_products(rows, rounded, y):
    """y [d, n] = rows [d, J] @ rounded [J, n] in float32; five rows of y and three of `rounded` a pass over memory."""
    units, width = rows.shape
    factors = np.zeros((units + 4, width + 2), np.float32)  # zero where a row is found again at an edge
    factors[:units, :width] = rows
    y[:] = 0
    for i in range(0, units, 5):
        y0, y1, y2, y3, y4 = (
            y[i],
            y[min(i + 1, units - 1)],
            y[min(i + 2, units - 1)],
            y[min(i + 3, units - 1)],
            y[min(i + 4, units - 1)],
        )
        f = factors[i : i + 5]
        for j in range(0, width, 3):
            r0, r1, r2 = rounded[j], rounded[min(j + 1, width - 1)], rounded[min(j + 2, width - 1)]
            a0, a1, a2, b0, b1, b2, c0, c1, c2 = (
                f[0, j],
                f[0, j + 1],
                f[0, j + 2],
                f[1, j],
                f[1, j + 1],
                f[1, j + 2],
                f[2, j],
                f[2, j + 1],
                f[2, j + 2],
            )
            d0, d1, d2, e0, e1, e2 = f[3, j], f[3, j + 1], f[3, j + 2], f[4, j], f[4, j + 1], f[4, j + 2]
            for index in range(y.shape[1]):
                v0, v1, v2 = r0[index], r1[index], r2[index]
                y0[index] += a0 * v0 + a1 * v1 + a2 * v2
                y1[index] += b0 * v0 + b1 * v1 + b2 * v2
                y2[index] += c0 * v0 + c1 * v1 + c2 * v2
                y3[index] += d0 * v0 + d1 * v1 + d2 * v2
                y4[index] += e0 * v0 + e1 * v1 + e2 * v2


@_compiled
def _signed_sums(samples, y, out):
    """out [d, J]: for each y [d, n], the sum of every row of `samples` [J, n] with the signs of y.

    A pass takes five units and two rows.
    """
    last, end = y.shape[0] - 1, samples.shape[0] - 1
    for i in range(0, last + 1, 5):
        p, q, r, s = (
            min(i + 1, last),
            min(i + 2, last),
            min(i + 3, last),
            min(i + 4, last),
        )  # at the end a unit is found again
        y0, y1, y2, y3, y4 = y[i], y[p], y[q], y[r], y[s]
        for j in range(0, end + 1, 2):
            k = min(j + 1, end)
            row, other = samples[j], samples[k]
            s0 = s1 = s2 = s3 = s4 = t0 = t1 = t2 = t3 = t4 = 0.0
            for index in range(row.shape[0]):
                value, second = row[index], other[index]
                s0 += value if y0[index] > 0 else -value
                t0 += second if y0[index] > 0 else -second
                s1 += value if y1[index] > 0 else -value
                t1 += second if y1[index] > 0 else -second
                s2 += value if y2[index] > 0 else -value
                t2 += second if y2[index] > 0 else -second
                s3 += value if y3[index] > 0 else -value
                t3 += second if y3[index] > 0 else -second
                s4 += value if y4[index] > 0 else -value
                t4 += second if y4[index] > 0 else -second
            out[i, j], out[p, j], out[q, j], out[r, j], out[s, j] = s0, s1, s2, s3, s4
            out[i, k], out[p, k], out[q, k], out[r, k], out[s, k] = t0, t1, t2, t3, t4


@_compiled
def _l1(rows, lengths, samples, y, doubt, scale, slope):
    """mean |y| and its derivative, from y = row / length @ samples rounded to float32."""
    units, width = rows.shape
    count = samples.shape[1]
    _signed_sums(samples, y, slope)
    for i in range(units):
        if _any_within(y[i], doubt):
            for index in range(count):
                if abs(y[i, index]) <= doubt:
                    wrong = np.sign(_dot(rows[i], samples, index)) - (1.0 if y[i, index] > 0 else -1.0)
                    for j in range(width):
                        slope[i, j] += wrong * samples[j, index]
        total = 0.0
        for j in range(width):
            slope[i, j] /= count
            total += slope[i, j] * rows[i, j]  # mean |y| = mean(sign(y) y)
        scale[i] = total * lengths[i]


@_compiled
def _linf(rows, lengths, samples, y, doubt, scale, slope):
    """max |y| and its derivative, from y = row / length @ samples rounded to float32."""
    units, width = rows.shape
    count = samples.shape[1]
    for i in range(units):
        enough = max(_number(_largest(y[i])) - 2 * doubt, np.float32(0))
        candidates, position = _at_least(y[i], _bits(enough))
        largest, best, sign = -1.0, 0, 0.0
        for index in range(position if candidates == 1 else 0, count):
            if abs(y[i, index]) >= enough:
                value = _dot(rows[i], samples, index)
                if abs(value) > largest:
                    largest, best, sign = abs(value), index, np.sign(value)
                if candidates == 1:
                    break
        scale[i] = largest * lengths[i]
        for j in range(width):
            slope[i, j] = sign * samples[j, best]


@_compiled
def _doubt(width, longest):
    """A bound on the error in float32 of a unit vector times a sample of norm `longest`.

    Both factors and `width` sums are rounded.
    """
    return (width + 16) * 2.0**-24 * longest


@_compiled
def _sampled(norm, outputs, samples, rounded, longest, y, scale, slope):
    """n(y) [d] of y = outputs @ samples for l1 or linf, and its derivative [d, d+1] with respect to outputs.

    Signs, and which sample is the largest, are read off a product in float32; samples too near
    to a tie to be sure are computed again in float64. The result is as exact as float64 throughout.
    """
    units, width = outputs.shape
    lengths = np.empty(units)
    for i in range(units):
        lengths[i] = np.sqrt((outputs[i] * outputs[i]).sum())
        for j in range(width):
            outputs[i, j] /= lengths[i]  # keeps float32 in range
    _rounded_products(outputs, rounded, y)
    doubt = np.float32(_doubt(width, longest))
    if norm == L1:
        _l1(outputs, lengths, samples, y, doubt, scale, slope)
    else:
        _linf(outputs, lengths, samples, y, doubt, scale, slope)


@_compiled
def _normalize(norm, gamma, count, samples, rounded, longest, which, used, outputs, y, scale, slope):
    """A layer's outputs [d, d+1, 8] become gamma (y - mean) / n(y); n and dn/dV go to `scale` and `slope`."""
    units, width, _ = outputs.shape
    factor = np.empty(LANES)
    if norm in (L1, LINF):
        rows, rows_scale, rows_slope = np.empty((units, width)), np.empty(units), np.empty((units, width))
        for lane in range(used):
            data = which[lane]
            rows[:] = outputs[:, :, lane]
            _sampled(norm, rows, samples[data], rounded[data], longest[data], y, rows_scale, rows_slope)
            scale[:, lane], slope[:, :, lane] = rows_scale, rows_slope
        scale[:, used:], slope[:, :, used:] = 1.0, 0.0
    else:
        kept = width if norm == L2 else width - 1
        for i in range(units):
            scale[i] = 0.0
            for j in range(kept):
                for lane in range(LANES):
                    scale[i, lane] += outputs[i, j, lane] * outputs[i, j, lane]
            for lane in range(LANES):
                scale[i, lane] = np.sqrt(scale[i, lane] / count)
                factor[lane] = 1 / (count * scale[i, lane])
            for j in range(kept):
                for lane in range(LANES):
                    slope[i, j, lane] = outputs[i, j, lane] * factor[lane]
            slope[i, kept:] = 0.0
    for i in range(units):
        for lane in range(LANES):
            factor[lane] = gamma / scale[i, lane]
        for j in range(width - 1):
            for lane in range(LANES):
                outputs[i, j, lane] *= factor[lane]
        outputs[i, width - 1] = 0.0


@_compiled
def _normalize_back(gamma, normalized, scale, slope, delta):
    """The gradient with respect to a normalization's outputs becomes that with respect to its inputs."""
    units, width, _ = delta.shape
    along, factor = np.empty(LANES), np.empty(LANES)
    for i in range(units):
        along[:] = 0.0
        for j in range(width):
            for lane in range(LANES):
                along[lane] += delta[i, j, lane] * normalized[i, j, lane]
        for lane in range(LANES):
            along[lane] /= scale[i, lane]
            factor[lane] = gamma / scale[i, lane]
        for j in range(width - 1):
            for lane in range(LANES):
                delta[i, j, lane] = delta[i, j, lane] * factor[lane] - along[lane] * slope[i, j, lane]
        for lane in range(LANES):  # the mean is subtracted: nothing but the scale comes back through the last column
            delta[i, width - 1, lane] = -along[lane] * slope[i, width - 1, lane]


@_compiled
def _backpropagate(norm, gamma, count, used, which, w, inputs, targets, samples, rounded, longest, y, work, loss, out):
    """Losses [8] and gradients `out` [k, d, d, 8] of eight networks w [k, d, d, 8].

    Lane n belongs to data set which[n]; lanes from `used` on are spare: what is in them goes nowhere.
    """
    layers, units = w.shape[:2]
    width = inputs.shape[2]
    scale = np.empty((layers, units, LANES))
    # All of it from `work`, which begins where a cache line does: vectors that straddle two take half as long again.
    blocks = work[: (2 * layers + 2) * units * width * LANES].reshape(2 * layers + 2, units, width, LANES)
    q, slope, error, delta = blocks[:layers], blocks[layers : 2 * layers], blocks[2 * layers], blocks[2 * layers + 1]
    for lane in range(LANES):
        q[0, :, :, lane] = inputs[which[lane]]
    for layer in range(layers - 1):
        _product(w[layer], q[layer], units, q[layer + 1])
        if norm != NONE:
            _normalize(
                norm, gamma, count, samples, rounded, longest, which, used, q[layer + 1], y, scale[layer], slope[layer]
            )
    _product(w[layers - 1], q[layers - 1], units, error)
    for lane in range(LANES):
        loss[lane] = 0.0
        for i in range(units):
            for j in range(width):
                error[i, j, lane] -= targets[which[lane], i, j]
                loss[lane] += error[i, j, lane] * error[i, j, lane]
                delta[i, j, lane] = 2 * error[i, j, lane]
    for layer in range(layers - 1, 0, -1):
        _product_turned(delta, q[layer], width, out[layer])
        _turned_product(w[layer], delta, units, error)
        delta, error = error, delta
        if norm != NONE:
            _normalize_back(gamma, q[layer], scale[layer - 1], slope[layer - 1], delta)
    _product_turned(delta, q[0], width, out[0])


def workspace(layers: int, units: int) -> int:
    """How many numbers `gradients` and `along` need to work with.

    They are lent: memory that is new at every call costs more than the sums.
    """
    return units * LANES * (4 * layers * units + (2 * layers + 2) * (units + 1))


@_compiled
def gradients(norm, gamma, count, inputs, targets, samples, rounded, longest, weights, first, last, work, loss, out):
    """Loss [S] and gradient `out` [k, S, d, d] at weights [k, S, d, d], of the networks first ... last - 1.

    Network s belongs to data set s % D; inputs and targets are [D, d, d+1], and for l1 and linf `samples` [D, d+1, n],
    `rounded` the same in float32 and `longest` [D] the largest norm of a sample; `work` is `workspace` numbers.
    """
    layers, _, units, _ = weights.shape
    blocks = work[: 2 * layers * units * units * LANES].reshape(2, layers, units, units, LANES)
    w, g, rest = blocks[0], blocks[1], work[blocks.size :]
    y = np.empty((units, samples.shape[2]), np.float32)
    networks, which, losses = np.empty(LANES, np.int64), np.empty(LANES, np.int64), np.empty(LANES)
    for start in range(first, last, LANES):
        used = min(LANES, last - start)
        for lane in range(LANES):
            networks[lane] = start + min(lane, used - 1)  # a spare lane needs a data set, too
            which[lane] = networks[lane] % len(inputs)
        _gather(weights, networks, used, w)
        _backpropagate(
            norm, gamma, count, used, which, w, inputs, targets, samples, rounded, longest, y, rest, losses, g
        )
        for lane in range(used):
            loss[networks[lane]] = losses[lane]
            _scatter(g, lane, out, networks[lane])


@_compiled
def along(
    norm,
    gamma,
    count,
    inputs,
    targets,
    samples,
    rounded,
    longest,
    weights,
    first,
    last,
    work,
    loss,
    there,
    direction,
    distances,
    keep,
    change,
):
    """Loss [C S] and |g(W - t v) - v| [C S] at distances t [C] along `direction` v [k, S, d, d].

    Of the C S points, sorted by distance, those from `first` to `last` - 1. `there` [k, S, d, d] receives the gradient
    g at distance number `keep`. The rest as in `gradients`. Moved weights and gradients exist for eight networks at a
    time only: copies of all of them would cost more than the arithmetic.
    """
    layers, population, units, _ = weights.shape
    blocks = work[: 4 * layers * units * units * LANES].reshape(4, layers, units, units, LANES)
    w, g, v, step, rest = blocks[0], blocks[1], blocks[2], blocks[3], work[blocks.size :]
    y = np.empty((units, samples.shape[2]), np.float32)
    networks, which, losses = np.empty(LANES, np.int64), np.empty(LANES, np.int64), np.empty(LANES)
    moved, squares = np.empty(LANES), np.empty(LANES)
    for start in range(first, last, LANES):
        used = min(LANES, last - start)
        for lane in range(LANES):
            length, networks[lane] = divmod(
                start + min(lane, used - 1), population
            )  # a spare lane needs a data set, too
            which[lane] = networks[lane] % len(inputs)
            moved[lane] = distances[length]
        _gather(weights, networks, used, w)
        _gather(direction, networks, used, v)
        _move(w, v, moved, step)
        _backpropagate(
            norm, gamma, count, used, which, w, inputs, targets, samples, rounded, longest, y, rest, losses, g
        )
        _squared_distance(g, v, squares)
        for lane in range(used):
            loss[start + lane], change[start + lane] = losses[lane], np.sqrt(squares[lane])
            if (start + lane) // population == keep:
                _scatter(g, lane, there, networks[lane])

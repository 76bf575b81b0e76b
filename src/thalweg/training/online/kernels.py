"""The compiled arithmetic of a small network that learns record by record, in exact order.

A sum of rows of tables (one for each number, its gap, its place among knots, its category), two
hidden layers with LayerNorm (Ba et al. 2016), and softmax or one number. No Python runs per record.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.training.online.compiled import compiled
from thalweg.training.online.lanes import product, total

F32: Final = np.float32
SMALL: Final = F32(1e-5)  # keeps LayerNorm from dividing by nothing
FAR: Final = 5.0  # standardised numbers and targets are cut off here
REACH: Final = 2.5  # the first and the last knot of a standardised number
COLD: Final = 3.0  # the most by which the logarithm of the outputs' factor falls
EARLY: Final = 100  # a column that comes within so many labels was there from the start
LIMIT: Final = 1e150  # numbers are cut off here: their squares are finite

SEED, DRAWS, LEARNED, HEAD, FILLED, SPAN, STIRRED = range(7)  # places in `Net.counts`
COUNT, MEAN, VARIANCE, SURE = range(4)  # places in `Net.moments` and `Net.scale`
VALUE, GAP, KNOTS = range(3)  # where a column's rows of the first layer begin

Floats = NDArray[np.float32]


class Net(NamedTuple):
    """All that the network has learned; every array grows on the right alone.

    Parameters
    ----------
    columns
        float32 [P * (2 + knots), H]: for each number a row by which its value counts, one for its
        gap, and one for each knot.
    units
        float32 [U, H]: a row for each category.
    middle
        float32 [H, H]: the second layer, a row for each number that comes in.
    last, start
        float32 [C, H] and [C]: the outputs' layer and its bias.
    shift, gain, bias
        float32 [2, H]: for each hidden layer its bias, and LayerNorm's two.
    seen
        bool [C]: the classes that were learned from; of length 0 for numbers.
    moments
        float64 [P, 3]: how often each number was seen, its running mean and variance.
    scale
        float64 [4]: the same of a target that is a number; and for classes the logarithm of what
        outputs are multiplied by before they are told (temperature: Guo et al. 2017).
    ring_numbers, ring_units, ring_targets
        The last rows that were learned from: [R, P], [R, Q] and [R].
    counts
        int64 [7]: the seed, draws and labels so far, where the ring goes on, how full it is, how
        many of its rows are drawn from, and for how many labels the rate is still higher.
    """

    columns: Floats
    units: Floats
    middle: Floats
    last: Floats
    start: Floats
    shift: Floats
    gain: Floats
    bias: Floats
    seen: NDArray[np.bool_]
    moments: NDArray[np.float64]
    scale: NDArray[np.float64]
    ring_numbers: NDArray[np.float64]
    ring_units: NDArray[np.int32]
    ring_targets: NDArray[np.float64]
    counts: NDArray[np.int64]


class Rates(NamedTuple):
    """How it learns: see `thalweg.training.online.experts.fast.Dials`."""

    rate: float
    again: float
    clip: float
    replay: int
    knots: int
    memory: float
    spread: float
    boost: float
    temper: float


class Desk(NamedTuple):
    """Room to work in; what lies here means nothing between two rows."""

    places: NDArray[np.int64]
    values: Floats
    live: NDArray[np.int64]
    heights: Floats
    hat: Floats
    height: Floats
    back: Floats
    slope: Floats
    out: Floats
    wrong: Floats


@compiled
def mixed(seed: int, number: int) -> Any:
    """Give 64 bits that depend on a seed and a number (SplitMix64, Steele et al. 2014)."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(number) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def draw(rows: Floats, seed: int, first: int, scale: float) -> None:
    """Fill rows with uniform numbers of a standard deviation, each row by its number alone."""
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            bits = mixed(seed, (first + i) * 4096 + j)
            even = np.float64(bits >> np.uint64(11)) / 9007199254740992.0
            rows[i, j] = F32((2 * even - 1) * 1.7320508 * scale)


@compiled
def assign(to: Any, row: Any) -> None:
    """Copy a vector: to assign a slice takes longer, as it looks first whether both overlap."""
    for j in range(to.shape[0]):
        to[j] = row[j]


@compiled
def gather(to: Floats, rows: Floats, places: NDArray[np.int64], weights: Floats, n: int) -> None:
    """Add the first `n` rows that are named, each times its weight, to a vector."""
    i = 0
    while i + 4 <= n:  # four at a time: the vector is read and written a quarter as often
        p0, p1, p2, p3 = places[i], places[i + 1], places[i + 2], places[i + 3]
        w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for j in range(to.shape[0]):
            so_far = to[j] + w0 * rows[p0, j]
            so_far += w1 * rows[p1, j]
            so_far += w2 * rows[p2, j]
            to[j] = so_far + w3 * rows[p3, j]
        i += 4
    while i < n:
        p0, w0 = places[i], weights[i]
        for j in range(to.shape[0]):
            to[j] += w0 * rows[p0, j]
        i += 1


@compiled
def scatter(rows: Floats, places: NDArray[np.int64], weights: Floats, n: int, row: Floats) -> None:
    """Add a vector, times a weight for each, to the first `n` rows that are named."""
    for i in range(n):
        place, weight = places[i], weights[i]
        for j in range(row.shape[0]):
            rows[place, j] += weight * row[j]


@compiled
def follow(moments: NDArray[np.float64], x: float, memory: float) -> None:
    """Take a value into a running mean and variance, which forget what is long ago."""
    x = min(max(x, -LIMIT), LIMIT)
    moments[COUNT] += 1
    share = 1 / min(moments[COUNT], memory)
    apart = x - moments[MEAN]
    if moments[COUNT] > 100:  # one odd value moves them a little; a new scale does so at each row
        top = 20 * np.sqrt(moments[VARIANCE]) + 1e-12 * (1 + abs(moments[MEAN]))
        apart = min(max(apart, -top), top)
    moments[MEAN] += share * apart
    moments[VARIANCE] = (1 - share) * (moments[VARIANCE] + share * apart * apart)


@compiled
def standard(moments: NDArray[np.float64], x: float) -> float:
    """Standardise a value; 0 while nothing is known about its scale."""
    if moments[VARIANCE] <= 0:
        return 0.0
    apart: float = (x - moments[MEAN]) / np.sqrt(moments[VARIANCE])
    return min(max(apart, -FAR), FAR)


@compiled
def notice(net: Net, rates: Rates, numbers: NDArray[np.float64]) -> None:
    """Take a row that is to be learned into the running means and variances."""
    block = KNOTS + rates.knots
    for p in range(numbers.shape[0]):
        if np.isnan(numbers[p]):
            continue
        if net.moments[p, COUNT] == 0 and net.counts[LEARNED] < EARLY:
            # A column that comes later begins with rows of zeros: it says nothing until learned.
            draw(net.columns[p * block : p * block + 1], net.counts[SEED], p, rates.spread)
        follow(net.moments[p], numbers[p], rates.memory)


@compiled
def lay_out(net: Net, rates: Rates, numbers: NDArray[np.float64], desk: Desk) -> int:
    """List the rows of the first layer that a row's numbers touch, and how much each counts."""
    block = KNOTS + rates.knots
    n = 0
    for p in range(numbers.shape[0]):
        if net.moments[p, COUNT] == 0:  # never seen: it is as if the column were not there
            continue
        if np.isnan(numbers[p]):
            desk.places[n] = p * block + GAP
            desk.values[n] = F32(1)
            n += 1
            continue
        x = standard(net.moments[p], numbers[p])
        desk.places[n] = p * block + VALUE
        desk.values[n] = F32(x)
        n += 1
        if rates.knots > 1:
            place = min(max((x + REACH) / (2 * REACH), 0.0), 1.0) * (rates.knots - 1)
            k = min(int(place), rates.knots - 2)
            desk.places[n] = p * block + KNOTS + k
            desk.values[n] = F32(1 - (place - k))
            desk.places[n + 1] = p * block + KNOTS + k + 1
            desk.values[n + 1] = F32(place - k)
            n += 2
    return n


@compiled
def normed(z: Floats, hat: Floats, height: Floats, gain: Floats, bias: Floats) -> Any:
    """LayerNorm, then ReLU; gives one over the standard deviation."""
    width = F32(z.shape[0])
    mean = total(z) / width
    for j in range(z.shape[0]):
        hat[j] = z[j] - mean
    r = F32(1) / np.sqrt(product(hat, hat) / width + SMALL)
    for j in range(z.shape[0]):
        hat[j] *= r
        height[j] = max(gain[j] * hat[j] + bias[j], F32(0))
    return r


@compiled
def unnormed(up: Floats, hat: Floats, height: Floats, gain: Floats, slope: Floats, r: Any) -> None:
    """Go back through ReLU and LayerNorm: `up` becomes the slope of what came in."""
    for j in range(up.shape[0]):
        if height[j] <= 0:
            up[j] = F32(0)
        slope[0, j] = up[j] * hat[j]
        slope[1, j] = up[j]
        up[j] *= gain[j]
    a = total(up) / F32(up.shape[0])
    b = product(up, hat) / F32(up.shape[0])
    for j in range(up.shape[0]):
        up[j] = (up[j] - a - hat[j] * b) * r


@compiled
def forward(
    net: Net, rates: Rates, numbers: NDArray[np.float64], units: NDArray[np.int32], desk: Desk
) -> Any:
    """Compute both hidden layers of a row, and what going back needs.

    Gives how many rows of the first layer it touched, how many numbers of the first hidden layer
    are not cut off by ReLU, and one over the standard deviation of both layers.
    """
    n = lay_out(net, rates, numbers, desk)
    z = desk.back[0]
    assign(z, net.shift[0])
    gather(z, net.columns, desk.places, desk.values, n)
    for q in range(units.shape[0]):
        place = units[q]
        if place >= 0:
            for j in range(z.shape[0]):
                z[j] += net.units[place, j]
    r0 = normed(z, desk.hat[0], desk.height[0], net.gain[0], net.bias[0])
    live = 0
    for j in range(z.shape[0]):
        desk.live[live] = j
        desk.heights[live] = desk.height[0, j]
        live += desk.height[0, j] > 0
    z = desk.back[1]
    assign(z, net.shift[1])
    gather(z, net.middle, desk.live, desk.heights, live)
    return n, live, r0, normed(z, desk.hat[1], desk.height[1], net.gain[1], net.bias[1])


@compiled
def outputs(net: Net, desk: Desk) -> None:
    """Compute the outputs from the second hidden layer."""
    for c in range(net.last.shape[0]):
        desk.out[c] = product(net.last[c], desk.height[1]) + net.start[c]


@compiled
def softmax(seen: NDArray[np.bool_], out: Floats) -> None:
    """Turn outputs into probabilities of the classes seen so far; the others have none."""
    top = F32(-np.inf)
    for c in range(seen.shape[0]):
        if seen[c]:
            top = max(top, out[c])
    whole = F32(0)
    for c in range(seen.shape[0]):
        out[c] = np.exp(out[c] - top) if seen[c] else F32(0)
        whole += out[c]
    for c in range(seen.shape[0]):
        out[c] /= whole


@compiled
def temper(net: Net, rates: Rates, said: NDArray[np.float64], target: float) -> None:
    """Learn how sure to be from what was said of a row before its label was known."""
    if net.seen.shape[0] == 0 or not said[int(target)] > 0:
        return
    slope = -np.log(said[int(target)])  # of the log loss by the logarithm of the factor
    for c in range(said.shape[0]):
        if said[c] > 0:
            slope += said[c] * np.log(said[c])
    net.scale[SURE] -= rates.temper * min(max(slope, -1.0), 1.0)
    net.scale[SURE] = min(max(net.scale[SURE], -COLD), 1.0)


@compiled
def learn(
    net: Net,
    rates: Rates,
    units: NDArray[np.int32],
    target: float,
    rate: float,
    passed: Any,
    desk: Desk,
) -> None:
    """Take one step of gradient descent towards a row's target, its length bounded.

    What `forward` gave for this row just before is passed; it is on the desk still.
    """
    n, live, r0, r1 = passed
    outputs(net, desk)
    wrong, h0, h1, g0, g1 = desk.wrong, desk.height[0], desk.height[1], desk.back[0], desk.back[1]
    if net.seen.shape[0] > 0:
        softmax(net.seen, desk.out)
        assign(wrong, desk.out)
        wrong[int(target)] -= F32(1)
    else:
        wrong[0] = desk.out[0] - F32(target)
    size = F32(0)
    g1[:] = F32(0)
    for c in range(wrong.shape[0]):
        size += wrong[c] * wrong[c]
        for j in range(g1.shape[0]):
            g1[j] += wrong[c] * net.last[c, j]
    norm = size * (F32(1) + product(h1, h1))
    unnormed(g1, desk.hat[1], h1, net.gain[1], desk.slope[2:4], r1)
    norm += product(g1, g1) * (F32(1) + product(h0, h0))
    g0[:] = F32(0)
    for i in range(live):  # where ReLU cut off, the slope is 0
        g0[desk.live[i]] = product(net.middle[desk.live[i]], g1)
    unnormed(g0, desk.hat[0], h0, net.gain[0], desk.slope[0:2], r0)
    weight = F32(1)
    for i in range(n):
        weight += desk.values[i] * desk.values[i]
    for q in range(units.shape[0]):
        if units[q] >= 0:
            weight += F32(1)
    norm += product(g0, g0) * weight
    for i in range(4):
        norm += product(desk.slope[i], desk.slope[i])
    norm = np.sqrt(norm)
    if not norm < np.inf:  # nothing can be learned from it
        return
    step = F32(rate) * min(F32(1), F32(rates.clip) / (norm + SMALL))
    move(net, step, n, live, units, desk)


@compiled
def move(net: Net, step: Any, n: int, live: int, units: NDArray[np.int32], desk: Desk) -> None:
    """Move all weights against their slopes."""
    h1, g0, g1 = desk.height[1], desk.back[0], desk.back[1]
    for c in range(desk.wrong.shape[0]):
        net.start[c] -= step * desk.wrong[c]
        weight = -step * desk.wrong[c]
        for j in range(h1.shape[0]):
            net.last[c, j] += weight * h1[j]
    for layer in range(2):
        for j in range(h1.shape[0]):
            net.gain[layer, j] += -step * desk.slope[2 * layer, j]
            net.bias[layer, j] += -step * desk.slope[2 * layer + 1, j]
    for j in range(g0.shape[0]):
        g0[j] *= -step
        g1[j] *= -step
        net.shift[0, j] += g0[j]
        net.shift[1, j] += g1[j]
    scatter(net.middle, desk.live, desk.heights, live, g1)
    scatter(net.columns, desk.places, desk.values, n, g0)
    for q in range(units.shape[0]):
        place = units[q]
        if place >= 0:
            for j in range(g0.shape[0]):
                net.units[place, j] += g0[j]


@compiled
def answer(
    net: Net,
    rates: Rates,
    numbers: NDArray[np.float64],
    units: NDArray[np.int32],
    desk: Desk,
    said: NDArray[np.float64],
) -> Any:
    """Predict a row; before any label was learned there is nothing to say."""
    passed = forward(net, rates, numbers, units, desk)
    if net.counts[LEARNED] == 0:
        said[:] = np.nan
        return passed
    outputs(net, desk)
    sure = F32(np.exp(net.scale[SURE]))
    for c in range(net.seen.shape[0]):
        desk.out[c] *= sure
    if net.seen.shape[0] == 0:
        said[0] = net.scale[MEAN] + np.float64(desk.out[0]) * np.sqrt(net.scale[VARIANCE])
        return passed
    softmax(net.seen, desk.out)
    said[:] = 0.0
    for c in range(min(said.shape[0], net.seen.shape[0])):
        said[c] = desk.out[c]
    return passed


@compiled
def greet(net: Net, rates: Rates, target: float) -> None:
    """Note a target before it is learned: a class for the first time, or a number's scale."""
    if net.seen.shape[0] == 0:
        follow(net.scale, target, rates.memory)
        return
    if net.seen[int(target)]:
        return
    known, usual = 0, 0.0
    for c in range(net.seen.shape[0]):
        if net.seen[c]:
            known += 1
            usual += net.start[c]
    if known:  # as if it had come once among all labels so far
        usual = usual / known - min(np.log(1.0 + net.counts[LEARNED]), FAR)
    net.start[int(target)] = F32(usual)
    net.last[int(target)] = F32(0)
    net.seen[int(target)] = True


@compiled
def goal(net: Net, target: float) -> float:
    """Give a target as the network learns it."""
    return target if net.seen.shape[0] > 0 else standard(net.scale, target)


@compiled
def rehearse(net: Net, rates: Rates, faster: float, desk: Desk) -> None:
    """Learn again from some of the last rows, drawn at random."""
    counts, room = net.counts, net.ring_targets.shape[0]
    span = np.uint64(max(1, min(counts[FILLED], counts[SPAN])))
    for _ in range(rates.replay):
        back = np.int64(mixed(counts[SEED], counts[DRAWS]) % span)
        counts[DRAWS] += 1
        k = (counts[HEAD] - 1 - back + room) % room
        target = goal(net, net.ring_targets[k])
        rate = rates.again * faster
        numbers, units = net.ring_numbers[k], net.ring_units[k]
        passed = forward(net, rates, numbers, units, desk)
        learn(net, rates, units, target, rate, passed, desk)


@compiled
def take(
    net: Net,
    rates: Rates,
    numbers: NDArray[np.float64],
    units: NDArray[np.int32],
    targets: NDArray[np.float64],
    steps: NDArray[np.int64],
    said: NDArray[np.float64],
    desk: Desk,
) -> None:
    """Take a script's steps in order; see `thalweg.training.online.base.Script`.

    Rows that are predicted leave nothing behind, not even their scale.
    """
    counts, room = net.counts, net.ring_targets.shape[0]
    ready, passed = np.int64(-1), (0, 0, F32(0), F32(0))  # the row that lies on the desk
    for s in range(steps.shape[0]):
        r = steps[s]
        if r >= 0:
            passed = answer(net, rates, numbers[r], units[r], desk, said[r])
            ready = r
            continue
        r = ~r
        if np.isnan(targets[r]):
            continue
        greet(net, rates, targets[r])
        temper(net, rates, said[r], targets[r])
        if ready != r:
            passed = forward(net, rates, numbers[r], units[r], desk)
        ready = np.int64(-1)
        faster = rates.boost if counts[STIRRED] > 0 else 1.0
        rate = rates.rate * faster
        learn(net, rates, units[r], goal(net, targets[r]), rate, passed, desk)
        notice(net, rates, numbers[r])
        counts[LEARNED] += 1
        counts[STIRRED] = max(0, counts[STIRRED] - 1)
        if rates.replay > 0:
            assign(net.ring_numbers[counts[HEAD]], numbers[r])
            assign(net.ring_units[counts[HEAD]], units[r])
            net.ring_targets[counts[HEAD]] = targets[r]
            counts[HEAD] = (counts[HEAD] + 1) % room
            counts[FILLED] = min(counts[FILLED] + 1, room)
            rehearse(net, rates, faster, desk)

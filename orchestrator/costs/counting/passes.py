"""FLOPs of whole inferences, from as few counted passes as possible, for any counter of passes.

An inference of G tokens from a prompt of P is one prefill over P tokens and G - 1 decode passes over P, P + 1, ...,
P + G - 2 cached tokens. If that is cheap, every pass is counted, in order, in one generation. Otherwise passes are
counted at the start, at the end and around each breakpoint, and interpolated linearly in between.

Interpolation assumes that a pass costs the same after earlier decode passes as after a prompt of the same length, and
that costs change only at breakpoints. Each stretch of consecutive passes checks the first assumption, and a probe in
each interval the second. If one fails, every pass is counted; if that takes too long, `Passes.doubt` gives the reason.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from workers.records import Shape

AT_ONCE = 10_000
"""Effort up to which every pass is counted: seconds. Unit: passes x modules."""

IN_DOUBT = 150_000
"""Effort up to which every pass is counted if interpolation fails: minutes. Unit: passes x modules."""

STRAIGHT = 1e-3
"""Largest relative deviation of a pass from a line: a tenth of the error of a `high` figure."""

PROBES = 64
"""Most bisections per sum."""

_FIRST = 4
"""Consecutive passes counted after the prompt."""

_AROUND = 2
"""Passes counted on each side of a breakpoint."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A prefill, or a decode pass."""

    flops: float
    """Unit: FLOP."""
    cache: int | None = None
    """Elements in the cache after it; null if the counter does not report them or there is no cache."""


Counter = Callable[[int, int, int], Sequence[Pass]]
"""(batch size, prompt tokens, decode passes) -> the prefill and at least that many decode passes."""


class Passes:
    """Totals over inferences of one model, from as few counted passes as possible.

    Args:
        count: the counter.
        shapes: all shapes that will be requested; passes are counted at their smallest and largest batch size.
        breakpoints: numbers of cached tokens, up to a given one, at which the cost of a pass may change.
        modules: modules that a pass runs through, as a measure of its effort.
    """

    def __init__(
        self,
        count: Counter,
        shapes: Iterable[Shape],
        breakpoints: Callable[[int], Iterable[int]] = lambda _: (),
        *,
        modules: int = 1,
    ) -> None:
        shapes = list(shapes)
        self._count = count
        self._breakpoints = sorted(set(breakpoints(max(s.input_tokens + s.output_tokens for s in shapes))))
        self._small, self._large = min(s.batch_size for s in shapes), max(s.batch_size for s in shapes)
        self._runs: dict[tuple[int, int], Sequence[Pass]] = {}
        self._doubts: list[str] = []
        self._every = False
        self._shortest = min(s.input_tokens for s in shapes)
        self._longest: dict[int, int] = {}
        """Prompt tokens -> decode passes of the longest inference with such a prompt."""
        for shape in shapes:
            self._longest[shape.input_tokens] = max(self._longest.get(shape.input_tokens, 0), shape.output_tokens - 1)
        effort = sum(self._longest.values()) * modules * (1 if self._is_proportional(_flops) else 2)
        self._every = effort <= AT_ONCE or (effort <= IN_DOUBT and self._is_doubtful(shapes))
        self.doubt = None if self._every or not self._is_doubtful(shapes) else self._doubts[0]
        """Why totals may differ from a count of every pass; null if they do not."""

    def flops(self, shape: Shape) -> float:
        """FLOPs of one inference of the whole batch."""
        return self._at_batch(shape, _flops, lambda batch: self._total(batch, shape))

    def final_cache(self, shape: Shape) -> float:
        """Elements of the cache at the end of the inference. Only for counters that report the cache."""
        decodes = shape.output_tokens - 1
        start = shape.input_tokens if self._every or not decodes else shape.input_tokens + decodes - 1
        index = shape.input_tokens + decodes - start
        return self._at_batch(shape, _cache, lambda batch: _cache(self._run(batch, start, index)[index]))

    def mean_cache(self, shape: Shape) -> float | None:
        """Elements of the cache that a decode pass reads, mean over the passes; None without decode passes."""
        passes = shape.output_tokens - 1
        return self._at_batch(shape, _cache, lambda batch: self._sum(batch, shape, _cache)) / passes if passes else None

    def _total(self, batch: int, shape: Shape) -> float:
        return self._run(batch, shape.input_tokens, 0)[0].flops + self._sum(batch, shape, _flops)

    def _is_doubtful(self, shapes: Iterable[Shape]) -> bool:
        """Whether interpolation fails for one of `shapes`."""
        for shape in shapes:
            self.flops(shape)
        return bool(self._doubts)

    def _sum(self, batch: int, shape: Shape, figure: Callable[[Pass], float]) -> float:
        """Sum of `figure` over the inference's decode passes."""
        first, decodes = shape.input_tokens, shape.output_tokens - 1
        if self._every or not decodes:
            return sum(figure(each) for each in self._run(batch, first, decodes)[1 : decodes + 1])
        probes = _Budget(PROBES)
        stretches = list(self._stretches(first, first + decodes - 1))
        total = sum(
            figure(each)
            for start, end in stretches
            for each in self._run(batch, start, end - start + 1)[1 : end - start + 2]
        )
        for (start, left), (right, _) in pairwise(stretches):
            self._check_history(batch, start, left)
            ends = (figure(self._pass(batch, start, left)), figure(self._pass(batch, right, right)))
            total += self._between(lambda n: figure(self._pass(batch, n, n)), (left, right), ends, probes)
        return total

    def _stretches(self, first: int, last: int) -> Iterable[tuple[int, int]]:
        """Ranges of consecutive passes to count: from the first, around breakpoints, and at the last."""
        wanted = [(first, first + _FIRST - 1)]
        wanted += [(point - _AROUND, point + _AROUND) for point in self._breakpoints]
        wanted += [(last, last)]
        start, end = first, first
        for low, high in wanted:
            if high < first or low > last:
                continue
            if low > end + 1:
                yield start, end
                start = low
            end = max(end, min(high, last))
        yield start, end

    def _check_history(self, batch: int, start: int, end: int) -> None:
        """Add a doubt if the last of consecutive passes costs other than directly after a prompt."""
        later, fresh = (_flops(self._pass(batch, begin, end)) for begin in (start, end))
        if abs(later - fresh) > STRAIGHT * abs(fresh):
            self._doubts.append(
                f"the cost of its decode passes depends on earlier passes (with {end} cached tokens: {later:.4g} FLOP "
                f"after {end - start} passes, {fresh:.4g} after a prompt), and there are too many to count each one"
            )

    def _between(
        self, value: Callable[[int], float], edges: tuple[int, int], at: tuple[float, float], probes: "_Budget"
    ) -> float:
        """Sum of `value` between the edges, exclusive: linear if a probe is on the line, otherwise by bisection.

        Args:
            value: the function to sum.
            edges: numbers of cached tokens.
            at: `value` at the edges.
            probes: bisections left.
        """
        left, right = edges
        inside = right - left - 1
        if inside < 1:
            return 0.0
        # Not in the middle, so that a symmetric function does not look linear.
        probe = left + max(1, (right - left) * 2 // 5)
        expected = at[0] + (at[1] - at[0]) * (probe - left) / (right - left)
        actual = value(probe)
        if abs(actual - expected) <= STRAIGHT * abs(actual) or not probes.spend():
            if abs(actual - expected) > STRAIGHT * abs(actual):
                self._doubts.append(
                    "the cost of its decode passes is too irregular to interpolate, "
                    "and there are too many to count each one"
                )
            return sum(at) / 2 * inside
        middle = (left + right) // 2
        at_middle = value(middle)
        halves = (((left, middle), (at[0], at_middle)), ((middle, right), (at_middle, at[1])))
        return at_middle + sum(self._between(value, half, ends, probes) for half, ends in halves)

    def _at_batch(self, shape: Shape, figure: Callable[[Pass], float], at: Callable[[int], float]) -> float:
        """A total of `figure` at any batch size, on the line through the smallest and the largest one."""
        small = at(self._small)
        if self._is_proportional(figure):
            return small * shape.batch_size / self._small
        share = (shape.batch_size - self._small) / (self._large - self._small)
        return small + (at(self._large) - small) * share

    def _is_proportional(self, figure: Callable[[Pass], float]) -> bool:
        """Whether `figure` is exactly proportional to the batch size, at the shortest prompt."""
        if self._small == self._large:
            return True
        small, large = (self._run(batch, self._shortest, 1)[:2] for batch in (self._small, self._large))
        return all(
            figure(one) * self._large == figure(other) * self._small for one, other in zip(small, large, strict=True)
        )

    def _pass(self, batch: int, start: int, cached: int) -> Pass:
        """The decode pass over `cached` tokens, in a generation from a prompt of `start` tokens."""
        return self._run(batch, start, cached - start + 1)[cached - start + 1]

    def _run(self, batch: int, prompt: int, decodes: int) -> Sequence[Pass]:
        """A generation's prefill and at least `decodes` decode passes."""
        known = self._runs.get((batch, prompt), ())
        if len(known) <= decodes:
            if self._every:
                decodes = max(decodes, self._longest.get(prompt, 0))
            self._runs[batch, prompt] = known = self._count(batch, prompt, decodes)
        return known


def _flops(one: Pass) -> float:
    return one.flops


def _cache(one: Pass) -> float:
    if one.cache is None:
        raise ValueError("the model keeps no cache between passes")
    return float(one.cache)


class _Budget:
    """Bisections left for one sum."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self) -> bool:
        """Use one bisection; false if none is left."""
        self._left -= 1
        return self._left >= 0

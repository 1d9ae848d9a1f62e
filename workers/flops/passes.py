"""From counted passes to whole inferences, for any counter of passes.

An inference of G tokens from a prompt of P is one prefill over P tokens and G - 1 decode passes over P, P + 1, ...,
P + G - 2 cached tokens. Where that is cheap, every one of them is counted, in their order, in one generation. Where it
is not, the passes are counted at the start, at the end and around each breakpoint, and taken as straight in between.

That presumes that a pass costs the same after the passes before it as after a prompt of as many tokens, and that it
costs no more at a number that nobody announced. The first is checked at each stretch of consecutive passes, the second
by a probe in each piece. Where either does not hold, every pass is counted after all, or `Passes.doubt` says why not.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from workers.records import Shape

AT_ONCE = 10_000
"""Effort up to which every pass is counted without asking whether fewer would do: seconds. Unit: passes x modules."""

IN_DOUBT = 150_000
"""Effort up to which every pass is counted where fewer would not do: minutes. Unit: passes x modules."""

STRAIGHT = 1e-3
"""Relative deviation up to which a pass lies on a line: a tenth of what a `high` figure may be off by."""

PROBES = 64
"""Times that the pieces of one sum may be halved."""

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
    """Elements that the cache holds after it; null where the counter does not look, or there is no cache."""


Counter = Callable[[int, int, int], Sequence[Pass]]
"""Counts the prefill of (batch size, prompt tokens), and so many decode passes after it."""


class Passes:
    """Totals over inferences of one model, from as few counted passes as they need.

    Args:
        count: the counter.
        shapes: every shape that will be asked for; their batch sizes decide at which ones is counted.
        breakpoints: numbers of cached tokens, up to a given one, at which a pass may begin to cost differently.
        modules: what a pass takes: the modules that it runs through.
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
        """By tokens of the prompt: how many decode passes its longest inference makes."""
        for shape in shapes:
            self._longest[shape.input_tokens] = max(self._longest.get(shape.input_tokens, 0), shape.output_tokens - 1)
        effort = sum(self._longest.values()) * modules * (1 if self._is_proportional(_flops) else 2)
        self._every = effort <= AT_ONCE or (effort <= IN_DOUBT and self._is_doubtful(shapes))
        self.doubt = None if self._every or not self._is_doubtful(shapes) else self._doubts[0]
        """Why sums may differ from what counting every pass would give; null where they do not."""

    def flops(self, shape: Shape) -> float:
        """FLOPs of one inference of the whole batch."""
        return self._at_batch(shape, _flops, lambda batch: self._total(batch, shape))

    def final_cache(self, shape: Shape) -> float:
        """Elements of the cache at the inference's end. Only for counters that look at it."""
        decodes = shape.output_tokens - 1
        start = shape.input_tokens if self._every or not decodes else shape.input_tokens + decodes - 1
        index = shape.input_tokens + decodes - start
        return self._at_batch(shape, _cache, lambda batch: _cache(self._run(batch, start, index)[index]))

    def mean_cache(self, shape: Shape) -> float | None:
        """Elements of the cache that a decode pass reads, mean over the passes; None where there is none."""
        passes = shape.output_tokens - 1
        return self._at_batch(shape, _cache, lambda batch: self._sum(batch, shape, _cache)) / passes if passes else None

    def _total(self, batch: int, shape: Shape) -> float:
        return self._run(batch, shape.input_tokens, 0)[0].flops + self._sum(batch, shape, _flops)

    def _is_doubtful(self, shapes: Iterable[Shape]) -> bool:
        """Whether a sum over a few passes does not hold for one of `shapes`."""
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
        """Where passes are counted one after the other: from the first, around breakpoints, and at the last."""
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
        """Whether the last of consecutive passes costs what it would right after a prompt; if not, that is a doubt."""
        lived, fresh = (_flops(self._pass(batch, begin, end)) for begin in (start, end))
        if abs(lived - fresh) > STRAIGHT * abs(fresh):
            self._doubts.append(
                f"its decode passes depend on the passes before them (over {end} cached tokens, {lived:.4g} FLOP after "
                f"{end - start} passes, {fresh:.4g} after a prompt), and there are too many to count each"
            )

    def _between(
        self, value: Callable[[int], float], edges: tuple[int, int], at: tuple[float, float], probes: "_Budget"
    ) -> float:
        """Sum of `value` between the edges, without them: straight where a probe lies on the line, else halved.

        Args:
            value: what is summed.
            edges: numbers of cached tokens.
            at: `value` at the edges.
            probes: how often a piece may still be halved.
        """
        left, right = edges
        inside = right - left - 1
        if inside < 1:
            return 0.0
        # Off the middle, so that a function that is symmetric about it does not pass for straight.
        probe = left + max(1, (right - left) * 2 // 5)
        straight = at[0] + (at[1] - at[0]) * (probe - left) / (right - left)
        found = value(probe)
        if abs(found - straight) <= STRAIGHT * abs(found) or not probes.spend():
            if abs(found - straight) > STRAIGHT * abs(found):
                self._doubts.append(
                    "its decode passes cost too unevenly to be summed from a few, and are too many to count each"
                )
            return sum(at) / 2 * inside
        middle = (left + right) // 2
        there = value(middle)
        halves = (((left, middle), (at[0], there)), ((middle, right), (there, at[1])))
        return there + sum(self._between(value, half, ends, probes) for half, ends in halves)

    def _at_batch(self, shape: Shape, figure: Callable[[Pass], float], at: Callable[[int], float]) -> float:
        """A total of `figure` at any batch size: on the line through the smallest and the largest that is asked for."""
        small = at(self._small)
        if self._is_proportional(figure):
            return small * shape.batch_size / self._small
        share = (shape.batch_size - self._small) / (self._large - self._small)
        return small + (at(self._large) - small) * share

    def _is_proportional(self, figure: Callable[[Pass], float]) -> bool:
        """Whether `figure` goes with the batch size exactly, seen at the shortest prompt."""
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
        """A generation's prefill and at least so many decode passes."""
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
        raise ValueError("the model keeps nothing between its passes")
    return float(one.cache)


class _Budget:
    """How many more times the pieces of a sum may be halved."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self) -> bool:
        self._left -= 1
        return self._left >= 0

"""From a few counted passes to whole inferences, for any counter of passes.

An inference of G tokens from a prompt of P is one prefill over P tokens and G - 1 decode passes over P, P + 1, ...,
P + G - 2 cached tokens. The cost of a decode pass is a straight line in the number of cached tokens, with a bend where
a sliding window is full, so it need not be counted for every one of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from workers.records import Shape

PROBES = 64
"""Passes counted at most for one sum. Past them the rest is taken as straight, and `Passes.exact` turns false."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A prefill, and the decode pass that follows it."""

    prefill: float | None
    """Unit: FLOP; null where it was made only to fill the cache."""
    decode: float
    """Unit: FLOP."""
    prefill_cache: int | None = None
    """Elements that the cache holds after the prefill; null where the counter does not look."""
    decode_cache: int | None = None
    """Elements that it holds after the decode pass."""


Counter = Callable[[int, int], Pair]
"""Counts the prefill of (batch size, prompt tokens), and the decode pass after it."""


class Passes:
    """Totals over inferences of one model, from as few counted passes as they need.

    Args:
        count: the counter.
        shapes: every shape that will be asked for; their batch sizes decide at which ones is counted.
        bends: numbers of cached tokens from which on the cost of a decode pass may grow differently.
    """

    def __init__(self, count: Counter, shapes: Iterable[Shape], bends: Iterable[int] = ()) -> None:
        shapes = list(shapes)
        self._count = count
        self._bends = sorted(set(bends))
        self._small, self._large = min(s.batch_size for s in shapes), max(s.batch_size for s in shapes)
        self._shortest = min(s.input_tokens for s in shapes)
        self._pairs: dict[tuple[int, int], Pair] = {}
        self.exact = True
        """Whether every sum so far is, as far as probes between the probes show, what counting each pass would give."""

    def flops(self, shape: Shape) -> float:
        """FLOPs of one inference of the whole batch."""
        return self._at(shape.batch_size, shape.input_tokens, "prefill") + self._decodes(shape, "decode")

    def final_cache(self, shape: Shape) -> float:
        """Elements of the cache at the inference's end. Only for counters that look at it."""
        if shape.output_tokens == 1:
            return self._at(shape.batch_size, shape.input_tokens, "prefill_cache")
        return self._at(shape.batch_size, shape.input_tokens + shape.output_tokens - 2, "decode_cache")

    def mean_cache(self, shape: Shape) -> float | None:
        """Elements of the cache that a decode pass reads, mean over the passes; None where there is none."""
        passes = shape.output_tokens - 1
        return self._decodes(shape, "decode_cache") / passes if passes else None

    def _decodes(self, shape: Shape, field: str) -> float:
        """Sum of `field` over the inference's decode passes, piece by piece between the bends."""
        first, last = shape.input_tokens, shape.input_tokens + shape.output_tokens - 2
        if last < first:
            return 0.0
        edges = [first, *(bend for bend in self._bends if first < bend <= last), last + 1]
        probes = _Budget(PROBES)
        return sum(
            self._piece(lambda n: self._at(shape.batch_size, n, field), start, end - 1, probes)
            for start, end in pairwise(edges)
        )

    def _piece(self, value: Callable[[int], float], first: int, last: int, probes: "_Budget") -> float:
        """Sum of `value` over first..last: a trapezoid where a probe in between lies on it, else two halves."""
        count = last - first + 1
        trapezoid = (value(first) + value(last)) / 2 * count
        if count <= 2:  # its ends are all there is
            return trapezoid
        # Off the middle, so that a function that is symmetric about it does not pass for straight.
        between = first + max(1, (count - 1) * 2 // 5)
        straight = value(first) + (value(last) - value(first)) * (between - first) / (count - 1)
        if abs(value(between) - straight) <= 1e-9 * abs(straight):
            return trapezoid
        if not probes.spend():
            self.exact = False
            return trapezoid
        middle = (first + last) // 2
        return self._piece(value, first, middle, probes) + self._piece(value, middle + 1, last, probes)

    def _at(self, batch: int, tokens: int, field: str) -> float:
        """`field` at any batch size: on the straight line through the smallest and the largest that is asked for."""
        small = getattr(self._pair(self._small, tokens), field)
        if small is None:
            raise ValueError("the model keeps nothing between its passes")
        if batch == self._small or self._proportional(field):
            return float(small * batch / self._small)
        large = getattr(self._pair(self._large, tokens), field)
        return float(small + (large - small) * (batch - self._small) / (self._large - self._small))

    def _proportional(self, field: str) -> bool:
        """Whether cost goes with the batch size exactly, seen at the shortest prompt."""
        small, large = (getattr(self._pair(batch, self._shortest), field) for batch in (self._small, self._large))
        return bool(small * self._large == large * self._small)

    def _pair(self, batch: int, tokens: int) -> Pair:
        if (batch, tokens) not in self._pairs:
            self._pairs[batch, tokens] = self._count(batch, tokens)
        return self._pairs[batch, tokens]


class _Budget:
    """How many more times a sum may be split."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self) -> bool:
        self._left -= 1
        return self._left >= 0

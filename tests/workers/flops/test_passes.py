"""Sums over decode passes against counting every one of them, for costs of known shape."""

import pytest

from workers.flops.passes import PROBES, Pair, Passes
from workers.records import Shape


def passes(decode, *, prefill=lambda n: n * n, shapes, bends=()):
    asked = []

    def count(batch, tokens):
        asked.append((batch, tokens))
        return Pair(prefill=batch * prefill(tokens), decode=batch * decode(tokens))

    return Passes(count, shapes, bends), asked


@pytest.mark.parametrize(
    "decode", [lambda n: 7 + 3 * n, lambda n: 5 + min(n, 40), lambda n: n + min(n, 33) + min(n, 90)]
)
def test_a_sum_is_exact_with_windows_inside_it_that_nobody_announced(decode):
    shape = Shape(batch_size=3, input_tokens=10, output_tokens=200)
    made, asked = passes(decode, shapes=[shape])
    assert made.flops(shape) == pytest.approx(3 * (100 + sum(decode(n) for n in range(10, 209))), rel=1e-12)
    assert made.exact
    assert len(set(asked)) < 60


def test_a_straight_line_takes_three_passes_however_long():
    shape = Shape(batch_size=1, input_tokens=10, output_tokens=100_000)
    made, asked = passes(lambda n: 7 + 3 * n, shapes=[shape])
    made.flops(shape)
    assert len(set(asked)) == 3


def test_a_cost_that_jumps_about_is_summed_with_a_warning_not_with_endless_passes():
    shape = Shape(batch_size=1, input_tokens=1, output_tokens=100_000)
    made, asked = passes(lambda n: n * 7919 % 1000, shapes=[shape])
    made.flops(shape)
    assert not made.exact
    assert len(set(asked)) < 10 * PROBES


def test_what_does_not_grow_with_the_batch_is_not_multiplied_by_it():
    shapes = [Shape(batch_size=b, input_tokens=8, output_tokens=5) for b in (1, 4, 16)]
    made = Passes(lambda b, n: Pair(prefill=100 + b * n, decode=10 + b * n), shapes)
    for shape in shapes:
        b = shape.batch_size
        assert made.flops(shape) == 100 + b * 8 + sum(10 + b * n for n in range(8, 12))

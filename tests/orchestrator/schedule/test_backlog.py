"""Which run is next, and how well that rule uses a thousand GPUs in virtual time."""

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.schedule.backlog import Backlog, RunTimes, WorkerShape, shape_of
from testbed.virtual_cluster import Simulation, heavy_tailed
from workers.records import Cell, ModelSpec, Run

ONE = WorkerShape(1)


def run(model: str = "a", tokens: int = 1, *, repeat: int = 0, **fields: Any) -> Run:
    """A run that is predicted to take as many seconds as it has tokens."""
    spec = ModelSpec(name=model, source=f"org/{model}")
    return Run(cell=Cell(model=spec, precision="bf16", input_tokens=tokens, **fields), repeat=repeat)


def sweep(repeats: int, **models: Sequence[int]) -> list[Run]:
    """The runs of a sweep by rounds: models with a cell for each of these times."""
    cells = [(model, tokens) for model, times in models.items() for tokens in times]
    return [run(model, tokens, repeat=repeat) for repeat in range(repeats) for model, tokens in cells]


def backlog(runs: list[Run], *, keep_order: bool = False, load_s: float = 0.0) -> Backlog:
    queue = Backlog(runs, keep_order=keep_order)
    for model in dict.fromkeys(run.cell.model_key for run in runs):
        queue.release(model, lambda of: RunTimes(float(of.cell.input_tokens), load_s))
    return queue


def seconds(of: Run) -> RunTimes:
    return RunTimes(float(of.cell.input_tokens), load_s=0.0)


def taken(from_: Backlog, *, loaded: str | None = None) -> list[tuple[str, int]]:
    """Model and length of each run, in the order that one worker gets them."""
    return [(one.cell.model.name, one.cell.input_tokens) for one in drained(from_, loaded)]


def drained(from_: Backlog, loaded: str | None = None) -> list[Run]:
    runs = []
    while (one := from_.take(ONE, loaded=loaded)) is not None:
        loaded = one.cell.load_key
        runs.append(one)
    return runs


def loads(runs: list[Run]) -> int:
    keys = [one.cell.load_key for one in runs]
    return sum(key != before for key, before in pairwise([None, *keys]))


def test_the_longest_run_goes_first() -> None:
    assert taken(backlog([run(tokens=1), run(tokens=3), run(tokens=2)])) == [("a", 3), ("a", 2), ("a", 1)]


def test_a_worker_stays_with_its_model_while_its_runs_are_nearly_as_long() -> None:
    runs = [run("a", 10), run("b", 9), run("a", 6), run("b", 5), run("a", 4), run("b", 1)]
    assert taken(backlog(runs)) == [("a", 10), ("a", 6), ("b", 9), ("b", 5), ("a", 4), ("b", 1)]


def test_short_runs_go_by_rounds_each_model_loaded_once_a_round() -> None:
    runs = drained(backlog(sweep(3, a=[4, 3], b=[9, 1])))
    assert [one.repeat for one in runs] == [0] * 4 + [1] * 4 + [2] * 4
    assert loads(runs) <= 2 * 3 + 1


@pytest.mark.parametrize("load_s", [2.0, math.inf])
def test_a_model_that_takes_long_to_load_goes_through_its_rounds_at_once(load_s: float) -> None:
    runs = drained(backlog(sweep(3, a=[4, 3], b=[4, 3]), load_s=load_s))
    assert loads(runs) == 2
    assert [(one.cell.input_tokens, one.repeat) for one in runs[:6]] == [(4, 0), (3, 0), (4, 1), (3, 1), (4, 2), (3, 2)]


def test_a_model_whose_own_round_spreads_its_repeats_stays_loaded() -> None:
    assert loads(drained(backlog(sweep(3, a=[25, 24, 20], b=[25, 24, 20])))) == 2


def test_runs_that_last_longer_than_a_burst_need_no_rounds_and_go_first() -> None:
    assert taken(backlog(sweep(2, a=[5, 90], b=[200])))[:4] == [("b", 200), ("b", 200), ("a", 90), ("a", 90)]


def test_a_resumed_sweep_continues_with_its_current_round() -> None:
    runs = sweep(4, a=[4], b=[3])
    left = [one for one in runs if one.repeat > 1 or (one.cell.model.name, one.repeat) == ("b", 1)]
    assert next((one.cell.model.name, one.repeat) for one in drained(backlog(left))) == ("b", 1)
    assert [one.repeat for one in drained(backlog(left))] == [1, 2, 2, 3, 3]


@pytest.mark.slow
def test_repeats_do_not_lengthen_the_tail_of_a_large_sweep() -> None:
    workload = heavy_tailed(2000, mean_s=100, longest_s=3600, repeats=5)
    report = Simulation(workload, gpus=500).run()
    assert sorted(report.done) == sorted(one.key for one in workload.runs)
    assert report.over_bound <= 1.05


def test_a_required_order_is_kept() -> None:
    runs = [run("a", 1), run("b", 9), run("a", 6)]
    assert taken(backlog(runs, keep_order=True)) == [("a", 1), ("b", 9), ("a", 6)]


def test_a_required_order_waits_for_a_model_that_is_not_prepared_yet() -> None:
    first, second = run("a", 1), run("b", 9)
    waiting = Backlog([first, second], keep_order=True)
    waiting.release(second.cell.model_key, seconds)
    assert waiting.take(ONE, loaded=None) is None
    waiting.release(first.cell.model_key, seconds)
    assert [waiting.take(ONE, loaded=None), waiting.take(ONE, loaded=None)] == [first, second]


def test_without_a_required_order_a_prepared_model_waits_for_no_other() -> None:
    first, second = run("a", 1), run("b", 9)
    waiting = Backlog([first, second], keep_order=False)
    waiting.release(second.cell.model_key, seconds)
    assert waiting.take(ONE, loaded=None) == second
    assert (waiting.take(ONE, loaded=None), len(waiting)) == (None, 1)


def test_a_worker_gets_only_what_fits_it() -> None:
    runs = [run("a", 3), run("a", 2), run("b", 1)]
    left = backlog(runs)
    assert left.take(ONE, loaded=None, fits=lambda one: one.cell.input_tokens < 3) == runs[1]
    assert left.take(ONE, loaded=None, fits=lambda _: False) is None
    assert len(left) == 2


def test_shapes_differ_by_processes_split_and_card() -> None:
    runs = [run(), run(processes=4, batch_size=4), run(tensor_parallel=4), run(accelerator_type="H100"), run(tokens=2)]
    assert backlog(runs).shapes() == {
        WorkerShape(4, 1): 1,
        WorkerShape(4, 4): 1,
        WorkerShape(1, 1, "H100"): 1,
        ONE: 2,
    }
    assert list(backlog(runs).shapes())[-1] == ONE  # the least demanding comes last
    assert backlog(runs).take(WorkerShape(1, 1, "H100"), loaded=None) == runs[3]


def test_the_shape_with_the_most_time_left_per_worker_comes_first() -> None:
    runs = [run(tokens=6), run(tokens=4), run(tokens=7, tensor_parallel=2)]
    split = WorkerShape(2, 2)
    assert backlog(runs).by_need({}) == [ONE, split]
    assert backlog(runs).by_need({ONE: 1}) == [split, ONE]  # 10 s over two workers
    assert backlog(runs).by_need({ONE: 1, split: 1}) == [ONE, split]


def test_a_run_that_was_lost_keeps_its_place() -> None:
    runs = [run("a", 3), run("a", 2)]
    left = backlog(runs, keep_order=True)
    lost = left.take(ONE, loaded=None)
    assert lost == runs[0]
    left.put(lost, seconds(lost))
    assert taken(left) == [("a", 3), ("a", 2)]


def test_discarded_and_removed_runs_are_gone_and_not_counted() -> None:
    runs = [run("a", 3), run("b", 2), run("b", 1), run("c", 5)]
    left = Backlog(runs, keep_order=False)
    assert left.discard(runs[3].cell.model_key) == [runs[3]]
    left.release(runs[1].cell.model_key, seconds)
    left.remove([runs[0], runs[1]])
    assert list(left.remaining()) == [runs[2]]
    assert (len(left), left.shapes()) == (1, {ONE: 1})


@pytest.mark.parametrize("seed", range(5))
def test_every_run_is_handed_out_once_whatever_happens(seed: int) -> None:
    draw = random.Random(seed)
    runs = [run(draw.choice("abc"), index + 1, tensor_parallel=draw.choice((1, 2))) for index in range(200)]
    left, done, out = backlog(runs, keep_order=bool(seed % 2)), [], []
    while left or out:
        for shape in left.shapes():
            if draw.random() < 0.7 and (one := left.take(shape, loaded=None)):
                assert shape_of(one) == shape
                out.append(one)
        for one in [one for one in out if draw.random() < 0.5]:
            out.remove(one)
            left.put(one, seconds(one)) if draw.random() < 0.1 else done.append(one)
    assert sorted(one.key for one in done) == sorted(one.key for one in runs)


def test_ten_thousand_heavy_tailed_runs_end_within_five_percent_of_the_lower_bound() -> None:
    workload = heavy_tailed(10_000, mean_s=600, longest_s=5400)
    report = Simulation(workload, gpus=1000).run()
    assert sorted(report.done) == sorted(one.key for one in workload.runs)
    assert 1.0 <= report.over_bound <= 1.05


def test_keeping_models_saves_most_loads() -> None:
    workload = heavy_tailed(2000, mean_s=600, longest_s=5400)
    kept, plain = Simulation(workload, gpus=200).run(), Simulation(workload, gpus=200, keep_models=False).run()
    assert kept.loads < plain.loads / 3


def test_gangs_and_single_processes_share_the_cluster_to_the_end() -> None:
    workload = heavy_tailed(3000, mean_s=600, longest_s=3000, gang_share=0.1, seed=1)
    assert Simulation(workload, gpus=304).run().over_bound <= 1.05


@pytest.mark.slow
def test_failing_nodes_lose_no_run_and_repeat_little() -> None:
    workload = heavy_tailed(10_000, mean_s=3600, longest_s=14_400)
    report = Simulation(workload, gpus=1000, node_failures_per_hour=0.01).run()
    assert sorted(report.done) == sorted(one.key for one in workload.runs)
    assert report.failed_nodes >= 5
    assert 0 < report.repeated_share < 0.03


def test_a_cell_that_will_not_pass_is_withdrawn_and_the_others_stay() -> None:
    queue = backlog(sweep(3, a=[5, 7], b=[6]))
    first = queue.take(ONE, loaded=None)
    assert first is not None
    withdrawn = queue.withdraw(first)
    assert [(one.cell.cell_id, one.repeat) for one in withdrawn] == [(first.cell.cell_id, 1), (first.cell.cell_id, 2)]
    assert queue.shapes() == {ONE: len(queue)} == {ONE: 6}
    assert queue.withdraw(first) == []
    left = taken(queue)
    assert (first.cell.model.name, first.cell.input_tokens) not in left
    assert len(left) == 6
    assert queue.shapes() == {}


@pytest.mark.parametrize(("tokens", "stays"), [(5, True), (4, False)])
def test_a_run_is_nearly_as_long_from_half_of_the_longest_on(tokens: int, stays: bool) -> None:
    made = backlog([run("a", tokens), run("b", 10)])
    loaded = run("a", tokens).cell.load_key
    assert made.take(ONE, loaded=loaded) == run("a" if stays else "b", tokens if stays else 10)


@pytest.mark.parametrize(("load_s", "stays"), [(10.5, True), (10.0, False)])
def test_a_model_stays_where_loading_another_takes_longer_than_its_run(load_s: float, stays: bool) -> None:
    made = backlog([run("a", 1), run("b", 10)], load_s=load_s)
    assert made.take(ONE, loaded=run("a", 1).cell.load_key) == (run("a", 1) if stays else run("b", 10))


def test_a_long_run_goes_first_however_long_its_load() -> None:
    made = backlog([run("a", 1), run("b", 70)], load_s=1000.0)
    assert made.take(ONE, loaded=run("a", 1).cell.load_key) == run("b", 70)


@pytest.mark.parametrize(("tokens", "order"), [(60, [0, 1, 0, 1]), (59, [0, 0, 1, 1])])
def test_runs_of_a_minute_need_no_rounds(tokens: int, order: list[int]) -> None:
    runs = sweep(2, a=[tokens], b=[tokens])
    made = backlog(sorted(runs, key=lambda one: one.cell.model.name))
    assert [one.repeat for one in drained(made)] == order


@pytest.mark.parametrize(
    ("lengths", "load_s", "stays"),
    [
        ([31, 29], 0.0, True),  # a round of a minute
        ([31, 28], 0.0, False),
        ([21, 19], 10.0, False),  # a quarter of a round
        ([21, 19], 10.1, True),
    ],
)
def test_a_models_next_round_begins_where_it_is_long_or_loading_is_dear(
    lengths: list[int], load_s: float, stays: bool
) -> None:
    runs = sweep(2, a=lengths, b=[1])
    made = backlog(runs, load_s=load_s)
    loaded = run("a").cell.load_key
    first = [made.take(ONE, loaded=loaded) for _ in range(2)]
    assert [(one.cell.model.name, one.repeat) for one in first if one] == [("a", 0), ("a", 0)]
    third = made.take(ONE, loaded=loaded)
    assert third is not None
    assert (third.cell.model.name, third.repeat) == (("a", 1) if stays else ("b", 0))


def test_need_is_the_time_left_over_the_workers_and_one_more() -> None:
    runs = [run(tokens=9), run(tokens=8, tensor_parallel=2)]
    split, made = WorkerShape(2, 2), backlog(runs)
    assert made.by_need({ONE: 1, split: 1}) == [ONE, split]  # 4.5 and 4 s
    assert made.by_need({ONE: 2, split: 1}) == [split, ONE]  # 3 and 4 s
    assert made.take(split, loaded=None) == runs[1]
    assert made.by_need({}) == [ONE]
    assert made.expected() == {ONE: 1}


def test_runs_whose_model_is_being_prepared_are_expected_but_cannot_be_taken() -> None:
    runs = [run("a", 3), run("b", 2), run("b", 1)]
    made = Backlog(runs, keep_order=False)
    made.release(runs[0].cell.model_key, seconds)
    assert (made.shapes(), made.expected(), len(made)) == ({ONE: 1}, {ONE: 3}, 3)


def test_what_is_taken_out_leaves_the_time_of_the_others() -> None:
    long = [run(tokens=tokens) for tokens in (30, 20, 19)]
    other = run("b", 25, processes=2, batch_size=2)
    left = backlog([*long, other])
    assert left.by_need({})[0] == ONE  # 69 s against 25
    left.remove(long[:1])
    assert left.by_need({})[0] == ONE  # 39 s against 25, though the other's run is the longest
    left.remove(long[1:])
    assert left.by_need({}) == [shape_of(other)]


def test_runs_that_wait_for_their_model_are_taken_out_one_by_one() -> None:
    runs = [run(tokens=1), run(tokens=2)]
    queue = Backlog(runs, keep_order=False)
    queue.remove(runs[:1])
    assert list(queue.remaining()) == runs[1:]
    queue.remove(runs[1:])
    assert list(queue.remaining()) == []
    assert queue.discard(runs[0].cell.model_key) == []

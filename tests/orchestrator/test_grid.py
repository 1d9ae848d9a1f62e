"""The grid: its cells and their order."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import config, grid
from workers.records import PRECISIONS, Cell, ModelSpec


def sweep(**changes: object) -> config.SweepConfig:
    return config.from_mapping({"name": "try", "models": ["org/a"], "precisions": ["fp32"]} | changes)


def cell(**changes: object) -> Cell:
    return Cell(**({"model": ModelSpec(name="a", source="org/a"), "precision": "fp32"} | changes))  # type: ignore[arg-type]


def test_the_grid_is_the_product_in_the_written_order() -> None:
    cells = grid.expand(
        sweep(
            models=["org/b", "org/a"], precisions=["bf16", "fp32"], axes={"output_tokens": [8, 4], "batch_size": [1, 2]}
        )
    )
    assert len(cells) == 16
    assert [(c.model.name, c.precision, c.output_tokens, c.batch_size) for c in cells[:5]] == [
        ("org/b", "bf16", 8, 1),
        ("org/b", "bf16", 8, 2),
        ("org/b", "bf16", 4, 1),
        ("org/b", "bf16", 4, 2),
        ("org/b", "fp32", 8, 1),
    ]
    assert [c.model.name for c in cells] == ["org/b"] * 8 + ["org/a"] * 8


def test_a_group_is_one_axis_whose_values_belong_together() -> None:
    group = [{"input_tokens": 128, "output_tokens": 8}, {"input_tokens": 512, "output_tokens": 2}]
    cells = grid.expand(sweep(groups=[group], axes={"batch_size": [1, 4]}))
    assert [(c.input_tokens, c.output_tokens, c.batch_size) for c in cells] == [
        (128, 8, 1), (128, 8, 4), (512, 2, 1), (512, 2, 4),
    ]  # fmt: skip


def test_a_group_may_set_models_and_precisions_with_other_settings() -> None:
    group = [{"model": "org/b", "precision": "bf16", "tensor_parallel": 2}, {"model": "org/a", "precision": "fp32"}]
    data = {"name": "x", "models": ["org/a", "org/b"], "groups": [group]}
    cells = grid.expand(config.from_mapping(data))
    assert [(c.model.name, c.precision, c.tensor_parallel) for c in cells] == [
        ("org/b", "bf16", 2),
        ("org/a", "fp32", 1),
    ]


def test_a_model_without_a_member_in_its_group_is_an_error() -> None:
    with pytest.raises(config.SweepError, match=r"models\[1\]: no member of the group that sets `model` has 'org/b'"):
        grid.expand(sweep(models=["org/a", "org/b"], groups=[[{"model": "org/a"}]]))


def test_dotted_settings_become_generate_and_load_options() -> None:
    cell = grid.expand(sweep(axes={"generate.top_p": [0.9], "generate.do_sample": True, "load.use_safetensors": True}))[
        0
    ]
    assert cell.generate == {"top_p": 0.9, "do_sample": True}
    assert cell.load == {"use_safetensors": True}


def test_a_rule_excludes_what_it_matches_including_defaults() -> None:
    loaded = sweep(
        precisions=["fp32", "bf16"],
        axes={"batch_size": [1, 4, 16]},
        exclude=[
            {"precision": "fp32", "batch_size": [4, 16]},
            {"precision": "bf16", "batch_size": 1, "output_tokens": 32},
        ],
    )
    assert [(c.precision, c.batch_size) for c in grid.expand(loaded)] == [("fp32", 1), ("bf16", 4), ("bf16", 16)]
    assert grid.points(loaded) == 6


def test_a_rule_does_not_take_true_for_one() -> None:
    loaded = sweep(
        axes={"generate.do_sample": [True, False], "generate.top_k": [1, 0]}, exclude=[{"generate.top_k": True}]
    )
    with pytest.raises(config.SweepError, match="matches no point"):
        grid.expand(loaded)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["batch_size", "input_tokens", "output_tokens"]),
        st.lists(st.integers(1, 10_000), min_size=1, max_size=6, unique=True),
        max_size=3,
    ),
    st.lists(st.sampled_from(PRECISIONS), min_size=1, max_size=4, unique=True),
)
def test_no_cell_is_lost_or_duplicated(axes: dict[str, list[int]], precisions: list[str]) -> None:
    loaded = sweep(axes=axes, precisions=precisions)
    cells = grid.expand(loaded)
    assert len(cells) == grid.points(loaded) == len({c.cell_id for c in cells})
    assert cells == grid.expand(loaded)


def test_every_cell_passes_its_own_validation() -> None:
    for cell in grid.expand(
        sweep(axes={"batch_size": [2, 4], "generate.top_k": [5]}, device="cpu", warmup={"floor": 2})
    ):
        assert Cell.model_validate_json(cell.model_dump_json()) == cell
        assert Cell.model_validate_json(cell.model_dump_json()).cell_id == cell.cell_id


def test_too_many_runs_are_refused_before_the_expansion() -> None:
    axes = {name: list(range(1, 5001)) for name in ("batch_size", "input_tokens", "output_tokens")}
    with pytest.raises(config.SweepError, match=re.escape("= 125,000,000,000 cells; a sweep has at most 100,000 runs")):
        grid.expand(sweep(axes=axes))


def keys(order: object, repeats: int = 2) -> list[tuple[int, int]]:
    loaded = sweep(axes={"batch_size": [2, 8, 4]}, repeats=repeats, order=order)
    return [(run.cell.batch_size, run.repeat) for run in grid.runs(grid.expand(loaded), loaded)]


def test_runs_are_ordered_as_written_interleaved_or_longest_first() -> None:
    assert keys("as_written") == [(2, 0), (2, 1), (8, 0), (8, 1), (4, 0), (4, 1)]
    assert keys("interleaved") == [(2, 0), (8, 0), (4, 0), (2, 1), (8, 1), (4, 1)]
    assert keys("longest_first") == [(8, 0), (4, 0), (2, 0), (8, 1), (4, 1), (2, 1)]


def test_a_shuffle_is_fixed_by_its_seed_and_keeps_every_run() -> None:
    first, again, other = (keys({"shuffled": seed}, repeats=20) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert Counter(first) == Counter(other) == Counter(keys("as_written", repeats=20))


def test_pending_drops_finished_runs_and_keeps_the_order() -> None:
    loaded = sweep(axes={"batch_size": [1, 2, 3]})
    runs = grid.runs(grid.expand(loaded), loaded)
    assert grid.pending(runs, {runs[1].key}) == [runs[0], runs[2]]
    assert grid.pending(runs, [run.key for run in runs]) == []


def test_per_card_gives_each_cell_once_for_each_card() -> None:
    both = grid.per_card(grid.expand(sweep()), ["A100", "H100"])
    assert [c.accelerator_type for c in both] == ["A100", "H100"]
    assert both[0].cell_id != both[1].cell_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {"batch_size": [*range(1, 50_002)]}}, "2 models x 50,001 batch_size = 100,002 cells;"),
        (
            {"axes": {"batch_size": [*range(1, 25_002)]}, "repeats": 2},
            "2 models x 25,001 batch_size = 50,002 cells x 2 repeats = 100,004 runs;",
        ),
        (
            {"groups": [[{"input_tokens": n} for n in range(1, 50_002)]]},
            "2 models x 50,001 groups[0] = 100,002 cells;",
        ),
    ],
)
def test_a_grid_that_is_too_large_is_told_by_its_factors(changes: dict[str, object], message: str) -> None:
    with pytest.raises(config.SweepError, match=re.escape(message)):
        grid.expand(sweep(models=["org/a", "org/b"], **changes))


def test_a_grid_of_as_many_runs_as_a_sweep_may_have_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "MAX_RUNS", 6)
    assert len(grid.expand(sweep(axes={"batch_size": [1, 2, 3]}, repeats=2))) == 3
    with pytest.raises(config.SweepError, match="at most 6 runs"):
        grid.expand(sweep(axes={"batch_size": [1, 2, 3, 4]}, repeats=2))


def test_work_is_all_tokens_of_the_batch() -> None:
    assert grid.work(cell(batch_size=3, input_tokens=7, output_tokens=5)) == 36


def test_a_batch_that_its_processes_cannot_share_is_an_error() -> None:
    assert len(grid.expand(sweep(axes={"batch_size": [4, 8], "processes": [1, 4]}))) == 4
    with pytest.raises(config.SweepError, match="4 processes cannot share a batch of 6 evenly"):
        grid.expand(sweep(axes={"batch_size": [6, 8], "processes": [1, 4]}))

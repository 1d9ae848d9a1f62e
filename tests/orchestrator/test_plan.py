"""The grid: what it expands to, and in which order."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import config, plan
from workers.records import PRECISIONS, Cell, ModelSpec


def sweep(**changes: object) -> config.SweepConfig:
    return config.from_mapping({"name": "try", "models": ["org/a"], "precisions": ["fp32"]} | changes)


def cell(**changes: object) -> Cell:
    return Cell(**({"model": ModelSpec(name="a", source="org/a"), "precision": "fp32"} | changes))  # type: ignore[arg-type]


def test_the_grid_is_the_product_in_the_order_written() -> None:
    cells = plan.expand(
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


def test_a_group_is_one_axis_whose_values_go_together() -> None:
    group = [{"input_tokens": 128, "output_tokens": 8}, {"input_tokens": 512, "output_tokens": 2}]
    cells = plan.expand(sweep(groups=[group], axes={"batch_size": [1, 4]}))
    assert [(c.input_tokens, c.output_tokens, c.batch_size) for c in cells] == [
        (128, 8, 1), (128, 8, 4), (512, 2, 1), (512, 2, 4),
    ]  # fmt: skip


def test_models_and_precisions_may_go_together_with_other_settings() -> None:
    group = [{"model": "org/b", "precision": "bf16", "tensor_parallel": 2}, {"model": "org/a", "precision": "fp32"}]
    data = {"name": "x", "models": ["org/a", "org/b"], "groups": [group]}
    cells = plan.expand(config.from_mapping(data))
    assert [(c.model.name, c.precision, c.tensor_parallel) for c in cells] == [
        ("org/b", "bf16", 2),
        ("org/a", "fp32", 1),
    ]


def test_a_model_that_no_member_of_its_group_takes_is_an_error() -> None:
    with pytest.raises(config.SweepError, match=r"models\[1\]: 'org/b' is in no member"):
        plan.expand(sweep(models=["org/a", "org/b"], groups=[[{"model": "org/a"}]]))


def test_dotted_settings_become_options_of_generating_and_loading() -> None:
    found = plan.expand(
        sweep(axes={"generate.top_p": [0.9], "generate.do_sample": True, "load.use_safetensors": True})
    )[0]
    assert found.generate == {"top_p": 0.9, "do_sample": True}
    assert found.load == {"use_safetensors": True}


def test_a_rule_leaves_out_what_it_matches_defaults_included() -> None:
    grid = sweep(
        precisions=["fp32", "bf16"],
        axes={"batch_size": [1, 4, 16]},
        exclude=[
            {"precision": "fp32", "batch_size": [4, 16]},
            {"precision": "bf16", "batch_size": 1, "output_tokens": 32},
        ],
    )
    assert [(c.precision, c.batch_size) for c in plan.expand(grid)] == [("fp32", 1), ("bf16", 4), ("bf16", 16)]
    assert plan.points(grid) == 6


def test_true_is_not_one_to_a_rule() -> None:
    grid = sweep(
        axes={"generate.do_sample": [True, False], "generate.top_k": [1, 0]}, exclude=[{"generate.top_k": True}]
    )
    with pytest.raises(config.SweepError, match="matches no point"):
        plan.expand(grid)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["batch_size", "input_tokens", "output_tokens"]),
        st.lists(st.integers(1, 10_000), min_size=1, max_size=6, unique=True),
        max_size=3,
    ),
    st.lists(st.sampled_from(PRECISIONS), min_size=1, max_size=4, unique=True),
)
def test_no_cell_is_lost_or_made_twice(axes: dict[str, list[int]], precisions: list[str]) -> None:
    grid = sweep(axes=axes, precisions=precisions)
    cells = plan.expand(grid)
    assert len(cells) == plan.points(grid) == len({c.cell_id for c in cells})
    assert cells == plan.expand(grid)


def test_cells_are_as_valid_as_if_they_had_been_checked_one_by_one() -> None:
    for made in plan.expand(
        sweep(axes={"batch_size": [2, 4], "generate.top_k": [5]}, device="cpu", warmup={"floor": 2})
    ):
        assert Cell.model_validate_json(made.model_dump_json()) == made
        assert Cell.model_validate_json(made.model_dump_json()).cell_id == made.cell_id


def test_too_many_runs_are_refused_before_they_are_made() -> None:
    axes = {name: list(range(1, 5001)) for name in ("batch_size", "input_tokens", "output_tokens")}
    with pytest.raises(config.SweepError, match=re.escape("= 125,000,000,000 cells; a sweep has at most 100,000 runs")):
        plan.expand(sweep(axes=axes))


def keys(order: object, repeats: int = 2) -> list[tuple[int, int]]:
    grid = sweep(axes={"batch_size": [2, 8, 4]}, repeats=repeats, order=order)
    return [(run.cell.batch_size, run.repeat) for run in plan.runs(plan.expand(grid), grid)]


def test_runs_come_as_written_interleaved_or_longest_first() -> None:
    assert keys("as_written") == [(2, 0), (2, 1), (8, 0), (8, 1), (4, 0), (4, 1)]
    assert keys("interleaved") == [(2, 0), (8, 0), (4, 0), (2, 1), (8, 1), (4, 1)]
    assert keys("longest_first") == [(8, 0), (4, 0), (2, 0), (8, 1), (4, 1), (2, 1)]


def test_a_shuffle_is_fixed_by_its_seed_and_loses_nothing() -> None:
    first, again, other = (keys({"shuffled": seed}, repeats=20) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert Counter(first) == Counter(other) == Counter(keys("as_written", repeats=20))


def test_pending_drops_what_is_done_and_keeps_the_order() -> None:
    grid = sweep(axes={"batch_size": [1, 2, 3]})
    runs = plan.runs(plan.expand(grid), grid)
    assert plan.pending(runs, {runs[1].key}) == [runs[0], runs[2]]
    assert plan.pending(runs, [run.key for run in runs]) == []


def test_each_cell_can_be_had_once_for_each_card() -> None:
    both = plan.per_card(plan.expand(sweep()), ["A100", "H100"])
    assert [c.accelerator_type for c in both] == ["A100", "H100"]
    assert both[0].cell_id != both[1].cell_id

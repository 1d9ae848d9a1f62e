"""Cells with the same model, precision, batch and tokens are distinguished by their other settings."""

import json
from typing import Any

from orchestrator.results import labels


def row(**settings: Any) -> dict[str, Any]:
    return {"settings": json.dumps({"model": {"name": "m"}, "precision": "bf16", "device": "cpu"} | settings)}


def test_options_have_the_names_of_the_sweep_file() -> None:
    cell = row(load={"use_cache": True}, generate={"num_beams": 2}, attention="eager", window={"max_s": 1.0})
    assert labels.other_settings(cell) == {"attention": "eager", "generate.num_beams": "2", "load.use_cache": "true"}


def test_only_settings_that_differ_between_rows_are_varying() -> None:
    rows = [row(load={"a": 1}, attention="eager"), row(load={"a": 1}), row(load={"a": 1, "b": "x"})]
    assert labels.varying_settings(rows) == [{"attention": "eager"}, {}, {"load.b": "x"}]
    assert labels.varying_settings(rows[:1]) == [{}]


def test_options_that_change_the_work_or_the_model_make_another_workload() -> None:
    assert labels.workload(row(attention="eager", load={"quantization_config": {}})) == ""
    assert labels.workload(row(load={"n": 1}, generate={"num_beams": 2})) == "generate.num_beams=2 load.n=1"

"""Sweeps of the fake engine, and the log of its processes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator import config
from workers.records import Prepared

COUNTED_FAKE = "workers.engines.fake:Fake"
"""The fake engine under another name, so that its models' costs are counted."""


def settings(acts: Iterable[dict[str, Any]], *, out: str, **more: Any) -> dict[str, Any]:
    """The mapping of a sweep file with a cell for each act, on simulated GPUs."""
    axes = {"generate.act": [{"n": n} | act for n, act in enumerate(acts)]} | more.pop("axes", {})
    defaults = {"name": "drill", "models": [{"name": "m", "config": {"model_type": "gpt2"}}], "precisions": ["fp32"]}
    return {**defaults, "engine": "fake", "timeout_s": 600, "axes": axes, "out": out, **more}


def sweep(acts: Iterable[dict[str, Any]], *, out: str = "unused", **more: Any) -> config.SweepConfig:
    """The same mapping, read and checked."""
    return config.from_mapping(settings(acts, out=out, **more))


def not_counted(*_: Any) -> Prepared:
    """Replaces the count of FLOPs."""
    return Prepared(reason="the test counts nothing")


def lines(path: Path) -> list[list[str]]:
    """The lines of an act's log so far: key, rank, process, node."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

"""The import contracts bind by default: a forbidden import in a new module fails `make lint`, wherever it stands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BESIDE_THE_ACCELERATOR = ["", "records", "energy", "engines", "engines.transformers", "gang", "machine"]
"""Packages of `workers`."""

IN_THE_DRIVER = ["", "aggregate", "commands", "compare", "config", "costs", "report", "results", "schedule", "store"]
"""Packages of `orchestrator` that may not import torch, whatever else they may."""

FORBIDDEN = [
    *((f"workers.{package}", "orchestrator") for package in BESIDE_THE_ACCELERATOR),
    *((f"workers.{package}", "ray") for package in BESIDE_THE_ACCELERATOR),
    *((f"workers.{package}", "transformers") for package in BESIDE_THE_ACCELERATOR if "transformers" not in package),
    *((f"workers.{package}", "pynvml") for package in BESIDE_THE_ACCELERATOR if package != "energy"),
    *((f"workers.{package}", "pyarrow") for package in BESIDE_THE_ACCELERATOR),
    *((f"orchestrator.{package}", "torch") for package in IN_THE_DRIVER),
    *((f"orchestrator.{package}", "ray") for package in IN_THE_DRIVER if package != "schedule"),
    *((f"orchestrator.{package}", "pyarrow") for package in IN_THE_DRIVER if package not in ("results", "store")),
    *((f"orchestrator.{package}", "workers.measure") for package in IN_THE_DRIVER),
    ("workers.records.", "numpy"),
    ("workers.energy", "workers.measure"),
    ("orchestrator.results", "orchestrator.schedule"),
    ("orchestrator.config", "orchestrator.costs"),
]
"""Where a module is planted, and what it imports."""


@pytest.fixture(scope="module")
def lint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter reports on a copy of the packages with a module planted for each forbidden import."""
    copy = _copy(tmp_path_factory.mktemp("planted"))
    for package, imported in FORBIDDEN:
        folder = copy.joinpath(*package.rstrip(".").split("."))
        (folder / f"{_planted(imported)}.py").write_text(f"import {imported}\n")
    done = _lint(copy)
    assert done.returncode == 1, done.stdout
    return done.stdout


def _copy(folder: Path) -> Path:
    for package in ("orchestrator", "workers"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("vendor", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _planted(imported: str) -> str:
    return f"planted_{imported.replace('.', '_')}"


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("package", "imported"), FORBIDDEN)
def test_a_module_that_imports_what_its_package_may_not_is_reported(lint: str, package: str, imported: str) -> None:
    module = f"{package.rstrip('.')}.{_planted(imported)}"
    assert f"{module} -> {imported}" in " ".join(lint.split())


def test_a_new_module_at_the_top_has_to_find_its_layer(tmp_path: Path) -> None:
    _copy(tmp_path)
    for package in ("orchestrator", "workers"):
        (tmp_path / package / "planted.py").write_text('"""Nothing yet."""\n')
    done = _lint(tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("planted") >= 2, done.stdout

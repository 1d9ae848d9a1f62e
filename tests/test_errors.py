"""Every exception of this program derives from `JouleGridError`, so that one `except` catches them all."""

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import orchestrator
from workers.records.errors import JouleGridError

ROOT = Path(__file__).parents[1]

EXCEPT = {"Interrupted"}
"""A signal, which no `except Exception` may catch."""


def classes() -> Iterator[tuple[str, set[str]]]:
    """The name of each class of the two packages, with the names of its bases. Imports none of them."""
    for package in ("orchestrator", "workers"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef):
                    yield node.name, {ast.unparse(base).rpartition(".")[2] for base in node.bases}


def is_builtin_exception(name: str) -> bool:
    builtin = getattr(builtins, name, None)
    return isinstance(builtin, type) and issubclass(builtin, BaseException)


def test_every_exception_class_derives_from_the_root() -> None:
    bases = dict(classes())

    def ancestors(name: str) -> set[str]:
        return {name}.union(*(ancestors(base) for base in bases.get(name, ())))

    exceptions = {name for name in bases if any(map(is_builtin_exception, ancestors(name)))}
    assert {
        "StoreError",
        "SealError",
        "LoadError",
        "SweepError",
        "TextsError",
        "ClusterError",
        "ClusterLost",
    } <= exceptions
    assert {name for name in exceptions - EXCEPT if "JouleGridError" not in ancestors(name)} == set()


def test_the_package_exports_the_root() -> None:
    assert orchestrator.JouleGridError is JouleGridError

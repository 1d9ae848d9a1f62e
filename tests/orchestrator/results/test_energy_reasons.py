"""Every energy reason has an explanation, in the report and in the documentation."""

import ast
import re
from pathlib import Path
from typing import get_args

from orchestrator.results.energy_reasons import EXPLANATIONS, explain
from workers.records.energy import KnownEnergyReason

ROOT = Path(__file__).parents[3]
SOURCES = [
    *(ROOT / "workers" / "energy").rglob("*.py"),
    *(ROOT / "workers" / "engines").rglob("*.py"),
    ROOT / "orchestrator" / "aggregate" / "energy_ranks.py",
]


def test_reasons_are_explained_and_an_unknown_one_is_kept_as_it_is() -> None:
    assert explain(["no_gpu", "nvml_error_999"]) == "no GPU was used, nvml_error_999"
    assert explain([]) == ""


def test_every_known_reason_has_an_explanation() -> None:
    assert set(EXPLANATIONS) == set(get_args(KnownEnergyReason))


def test_the_documentation_explains_the_same_reasons() -> None:
    section = (ROOT / "docs" / "energy.md").read_text().partition("## Reasons")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} - {"nvml_error_N"} == set(EXPLANATIONS)


def test_the_code_gives_exactly_the_explained_reasons() -> None:
    assert reasons_given([ast.parse(file.read_text()) for file in SOURCES]) == set(EXPLANATIONS)


def reasons_given(trees: list[ast.Module]) -> set[str]:
    """The literals in every place that is annotated as a reason: mypy refuses a misspelt one there."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    variables, callables = annotated_names(nodes)
    given: set[str] = set()
    for node in nodes:
        match node:
            case ast.AnnAssign(annotation=annotation, value=ast.expr() as value) if is_reason(annotation):
                given |= words(value)
            case ast.Assign(targets=[ast.Attribute(attr=name) | ast.Name(id=name)], value=value) if name in variables:
                given |= words(value)
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=arguments) if name in callables:
                given |= words(*arguments)
            case ast.keyword(arg=name, value=value) if name in variables:
                given |= words(value)
            case ast.FunctionDef(returns=ast.expr() as annotation) if is_reason(annotation):
                given |= words(*(inner for inner in ast.walk(node) if isinstance(inner, ast.Return)))
    return given


def annotated_names(nodes: list[ast.AST]) -> tuple[set[str], set[str]]:
    """The variables and fields that are annotated as reasons, and the functions and classes that take one."""
    variables: set[str] = set()
    callables: set[str] = set()
    for node in nodes:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation) if is_reason(annotation):
                variables.add(name)
            case ast.FunctionDef(name=name) if takes_reason(node):
                callables.add(name)
            case ast.ClassDef(name=name, body=body) if any(
                isinstance(inner, ast.FunctionDef) and inner.name == "__init__" and takes_reason(inner)
                for inner in body
            ):
                callables.add(name)
    return variables, callables


def is_reason(annotation: ast.expr | None) -> bool:
    return annotation is not None and "EnergyReason" in ast.unparse(annotation)


def takes_reason(function: ast.FunctionDef) -> bool:
    return any(is_reason(argument.annotation) for argument in function.args.args)


def words(*nodes: ast.AST) -> set[str]:
    texts = (part.value for node in nodes for part in ast.walk(node) if isinstance(part, ast.Constant))
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"[a-z]+(_[a-z]+)*", text)}

"""The mutation run: does a wrong formula fail the tests of its own module?

    python -m tests.mutants --sample 100 --seed 1 --jobs 2

Cosmic Ray finds and makes the mutants. A sample is drawn evenly over the *places* of the logic that figures depend on
(an operator, a comparison, a number...), then one mutant of each place, so that an operator with many replacements
counts no more than a number. Each mutant lives in a copy of the tree, and only the tests of its own module run.
"""

import argparse
import ast
import difflib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import parso.python.tree
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator, operator_names

from tests.equivalent_mutants import EQUIVALENT
from tests.mutated_modules import OWN_TESTS

ROOT = Path(__file__).parents[1]

LEAST_SCORE = 0.95
"""Share of the sample that must die."""

LONGEST_S = 600
"""A mutant whose tests take longer than this all together is dead. Unit: s."""

Place = tuple[int, int]
"""Line and column of a token, from 1 and 0."""


class _SwapFolds(Operator):
    """What folds many values into one, replaced: `sum` by `max`, `min` by `max`, `any` by `all`, and back."""

    swaps = {"sum": "max", "fsum": "max", "max": "min", "min": "max", "any": "all", "all": "any"}

    def mutation_positions(self, node):
        """Every call of such a function."""
        if isinstance(node, parso.python.tree.Name) and node.value in self.swaps:
            following = node.get_next_leaf()
            if following is not None and following.value == "(" and node.get_previous_leaf().value != "def":
                yield (node.start_pos, node.end_pos)

    def mutate(self, node, index):
        """The call of the other one; `math.fsum` becomes `max`."""
        before = node.get_previous_leaf()
        if before.value == "." and node.value == "fsum":
            before.value, before.get_previous_leaf().value = "", ""
        node.value = self.swaps[node.value]
        return node

    @classmethod
    def examples(cls):
        """One, for Cosmic Ray's own check."""
        return (Example("sum(x)", "max(x)"),)


class _ScaleNumbers(Operator):
    """A number that one more or less hardly changes, doubled and halved."""

    factors = (2, 0.5)

    def mutation_positions(self, node):
        """Every fraction and every large number."""
        if isinstance(node, parso.python.tree.Number) and _is_scaled(node.value) and not _is_guard(node.value):
            yield from [(node.start_pos, node.end_pos)] * len(self.factors)

    def mutate(self, node, index):
        """The number times a factor."""
        return parso.python.tree.Number(repr(ast.literal_eval(node.value) * self.factors[index]), node.start_pos,
                                        prefix=node.prefix)  # fmt: skip

    @classmethod
    def examples(cls):
        """One, for Cosmic Ray's own check."""
        return (Example("x = 0.5", "x = 1.0"),)


def _is_scaled(number: str) -> bool:
    value = ast.literal_eval(number)
    return bool(value) and (isinstance(value, float) or value > 100)


def _is_guard(number: str) -> bool:
    """Whether it only keeps a division from zero: how small it is does not matter."""
    return 0 < ast.literal_eval(number) < 1e-6


def _operators() -> dict[str, Operator]:
    """Cosmic Ray's operators that change what is computed, and two more of our own."""
    found = {name: get_operator(name)() for name in operator_names() if _changes_a_figure(name.partition("/")[2])}
    return found | {"swap folds": _SwapFolds(), "scale numbers": _ScaleNumbers()}


_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
_SETS = {"BitOr", "BitAnd", "BitXor"}
_ORDER = {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"}


def _changes_a_figure(name: str) -> bool:
    """Whether the operator replaces like by like: others (a shift of floats, `==` by `is`) only crash or do nothing."""
    kind, *words = name.split("_")
    if kind == "ReplaceBinaryOperator":
        return {*words} <= _ARITHMETIC or {*words} <= _SETS
    if kind == "ReplaceComparisonOperator":
        return {*words} <= _ORDER or {*words} == {"Is", "IsNot"}
    if kind == "ReplaceUnaryOperator":
        return words in (["Delete", "USub"], ["Delete", "Not"])
    return kind in {
        "AddNot", "NumberReplacer", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr",
        "ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop",
        "ExceptionReplacer",
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of one place."""

    module: str
    place: Place
    operator: str
    occurrence: int


def mutants() -> dict[tuple[str, Place], list[Mutant]]:
    """Every mutant, by its place."""
    found: dict[tuple[str, Place], list[Mutant]] = defaultdict(list)
    operators = _operators()
    for module in OWN_TESTS:
        source = (ROOT / module).read_text(encoding="utf-8")
        ignored, nodes = list(_no_behaviour(source)), list(ast_nodes(get_ast(source)))
        for name, operator in operators.items():
            positions = [(node, start) for node in nodes for start, _ in operator.mutation_positions(node)]
            for occurrence, (node, place) in enumerate(positions):
                if any(first <= place < last for first, last in ignored):
                    continue
                if name.endswith("/NumberReplacer") and _is_scaled(node.value):
                    continue
                if getattr(node, "value", "") == "*" and node.get_next_leaf().value == ",":
                    continue  # it only says that arguments are named
                found[module, place].append(Mutant(module=module, place=place, operator=name, occurrence=occurrence))
    return found


def _no_behaviour(source: str) -> Iterator[tuple[Place, Place]]:
    """From where to where the text says nothing that a figure depends on: types, texts, assertions, guards."""
    lines = source.splitlines()

    def span(node: ast.AST) -> tuple[Place, Place]:
        ends = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
        return tuple((line, len(lines[line - 1].encode()[:column].decode())) for line, column in ends)

    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.AnnAssign(annotation=typed):
                yield span(typed)
            case ast.arg(annotation=ast.AST() as typed):
                yield span(typed)
            case ast.FunctionDef(returns=ast.AST() as typed):
                yield span(typed)
            case ast.ClassDef(decorator_list=decorators):
                yield from map(span, decorators)
            case ast.Subscript(value=ast.Name(id="tuple" | "list" | "dict" | "Literal" | "Callable")):
                yield span(node)
            case ast.JoinedStr() | ast.Assert():
                yield span(node)
            case ast.keyword(arg="strict" | "frozen" | "kw_only"):
                yield span(node)


def mutated(mutant: Mutant) -> tuple[str, str]:
    """The module before and after."""
    source = (ROOT / mutant.module).read_text(encoding="utf-8")
    changed = mutate_code(source, _operators()[mutant.operator], mutant.occurrence)
    assert changed is not None
    return source, changed


def changed_lines(before: str, after: str) -> tuple[str, str]:
    """The line that differs, without its indentation, before and after."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next(((old.strip(), new.strip()) for old, new in pairs if old != new), ("", ""))


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A mutant of the sample, with its module before and after."""

    mutant: Mutant
    before: str
    after: str


def sample(size: int, seed: int, only: str = "") -> list[Drawn]:
    """Mutants, drawn evenly over the places: each place once, while they last."""
    draw = random.Random(seed)
    by_place = {place: found for place, found in sorted(mutants().items()) if re.search(only, place[0])}
    places = list(by_place)
    draw.shuffle(places)
    drawn = []
    for place in places:
        mutant = draw.choice(by_place[place])
        before, after = mutated(mutant)
        if (mutant.module, *changed_lines(before, after)) in EQUIVALENT or not _is_python(after):
            continue
        drawn.append(Drawn(mutant=mutant, before=before, after=after))
        if len(drawn) == size:
            break
    return drawn


def _is_python(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


class TestsFailError(Exception):
    """A test file fails without any mutant."""


class Copies:
    """Copies of the working tree, one for each job, so that mutants never touch the tree itself."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        self._dates = count(int(time.time()), 10)
        self._checks: dict[str, Lock] = defaultdict(Lock)
        self._checked: set[str] = set()
        ignore = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
        for job in range(jobs):
            shutil.copytree(ROOT, folder / str(job), ignore=ignore, symlinks=True)
            self._free.put(folder / str(job))

    def survives(self, drawn: Drawn) -> bool:
        """Whether all tests of the mutant's module pass with it: one process for each file, up to the first failure.

        Raises:
            TestsFailError: A file fails without the mutant too.
        """
        copy = self._free.get()
        path = copy / drawn.mutant.module
        try:
            for tests in OWN_TESTS[drawn.mutant.module]:
                self._write(path, drawn.before)
                self._check(tests, copy)
                self._write(path, drawn.after)
                if not _run(tests, copy)[0]:
                    return False
            return True
        finally:
            self._write(path, drawn.before)
            self._free.put(copy)

    def _check(self, tests: str, copy: Path) -> None:
        """Let a test file show once that it passes without any mutant."""
        with self._checks[tests]:
            if tests in self._checked:
                return
            passed, output = _run(tests, copy)
            if not passed:
                raise TestsFailError(f"{tests} fails without any mutant:\n{output[-3000:]}")
            self._checked.add(tests)

    def _write(self, path: Path, source: str) -> None:
        """With a date of its own: Python tells by date and size whether the compiled module is still good."""
        date = next(self._dates)
        path.write_text(source, encoding="utf-8")
        os.utime(path, (date, date))


def _run(tests: str, folder: Path) -> tuple[bool, str]:
    """Whether the tests pass, and what they print."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "--timeout", "120", "-m", "not slow"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # to begin sooner
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, tests],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, f"took longer than {LONGEST_S} s"
    return done.returncode == 0, done.stdout + done.stderr


def stale() -> list[str]:
    """Named equivalents whose line is no longer there."""
    return [
        f"{module}: {line}"
        for module, line, _ in EQUIVALENT
        if line not in map(str.strip, (ROOT / module).read_text(encoding="utf-8").splitlines())
    ]


def main() -> int:
    """The run: 0 where enough mutants die, 1 where too many survive, 2 where the tests fail without any."""
    parser = argparse.ArgumentParser(description="Plant faults in the formulas and see whether their own tests fail.")
    parser.add_argument("--sample", type=int, default=100, help="number of mutants (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="which sample (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="test processes side by side (default: 2)")
    parser.add_argument("--only", default="", help="only modules whose path has this pattern")
    args = parser.parse_args()
    for line in stale():
        print(f"EQUIVALENT names a line that is gone: {line}")
    drawn = sample(args.sample, args.seed, args.only)
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants") as folder, ThreadPoolExecutor(args.jobs) as pool:
        copies = Copies(Path(folder), args.jobs)
        runs = {pool.submit(copies.survives, one): one for one in drawn}
        try:
            for number, run in enumerate(as_completed(runs), start=1):
                if run.result():
                    survivors += 1
                    _show(runs[run])
                if number % 10 == 0:
                    print(f"({number} of {len(drawn)}: {survivors} survive)", flush=True)
        except TestsFailError as failing:
            pool.shutdown(cancel_futures=True)
            print(failing)
            return 2
    killed = len(drawn) - survivors
    print(f"{killed} of {len(drawn)} mutants die by their own tests: {killed / len(drawn):.0%} (seed {args.seed})")
    return 0 if killed >= LEAST_SCORE * len(drawn) else 1


def _show(drawn: Drawn) -> None:
    mutant = drawn.mutant
    print(f"\nsurvives: {mutant.module}:{mutant.place[0]}  ({mutant.operator})")
    before, after = drawn.before.splitlines(), drawn.after.splitlines()
    for line in list(difflib.unified_diff(before, after, n=0, lineterm=""))[3:]:
        print(f"    {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

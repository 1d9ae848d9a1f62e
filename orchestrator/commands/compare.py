"""`python -m orchestrator compare`: arguments, exit codes and output formats."""

import argparse
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from orchestrator.compare import markdown, plain
from orchestrator.compare.figures import FACETS, MIXED
from orchestrator.compare.gate import gate
from orchestrator.compare.history import history, read_snapshots, snapshot_noise
from orchestrator.compare.rules import Rules
from orchestrator.compare.snapshot import read_snapshot
from orchestrator.compare.verdicts import GateReport, HistoryReport
from orchestrator.results.reader import LoadError

_OK, _REGRESSION, _BAD_INPUT = 0, 1, 2
_GATE_THRESHOLD = 0.05
"""A loss that five repeats at 2 % noise can distinguish from chance over hundreds of cells."""
_HISTORY_THRESHOLD = 0.02
"""Many snapshots can detect a smaller loss."""


_PRINTERS: dict[str, Callable[[GateReport | HistoryReport], str]] = {
    "text": plain.render,
    "markdown": markdown.render,
    "json": lambda report: report.model_dump_json(indent=2),
}


def main(argv: list[str]) -> int:
    """Compare two snapshots, or find the changes over many, and print the verdict.

    Returns:
        0: passed; 1: a regression beyond the threshold, or a cell stopped working or vanished; 2: the results cannot be
        read, nothing in them is comparable, or all repeats ran within one burst of load, so that the gate cannot fail.
    """
    arguments = _parser().parse_args(argv)
    try:
        report = _report(arguments)
        printed = _PRINTERS[arguments.format](report)
    except Exception as exc:  # exit code 1 is for regressions only
        if arguments.traceback:
            traceback.print_exc()
        print(f"error: {_one_line(exc)}", file=sys.stderr)
        return _BAD_INPUT
    print(printed)
    if not report.passed:
        return _REGRESSION
    uncertain = isinstance(report, GateReport) and report.nothing_certain
    return _BAD_INPUT if uncertain or not report.judged else _OK


def _one_line(exc: Exception) -> str:
    if isinstance(exc, LoadError):
        return str(exc)
    message = " ".join(f"{type(exc).__name__}: {exc}".split())
    return f"compare failed with {message} (a bug in joulegrid; --traceback shows where)"


def _report(arguments: argparse.Namespace) -> GateReport | HistoryReport:
    default = _HISTORY_THRESHOLD if arguments.history else _GATE_THRESHOLD
    rules = Rules(
        threshold=default if arguments.threshold is None else arguments.threshold,
        false_alarms=arguments.false_alarms,
        burst_s=arguments.burst,
        across=frozenset(arguments.across),
        allow_gone=arguments.allow_gone,
        recent=arguments.recent,
    )
    if arguments.history:
        return history(read_snapshots(arguments.history), rules)
    baseline, candidate = read_snapshot(arguments.baseline), read_snapshot(arguments.candidate)
    if not baseline.cells.keys() & candidate.cells.keys():
        raise LoadError(
            f"{arguments.candidate} (sweep {candidate.info.sweep!r}) has no cell in common with {arguments.baseline} "
            f"(sweep {baseline.info.sweep!r}): cells match only if all their settings are equal"
        )
    added = snapshot_noise(read_snapshots(arguments.nights), rules.across) if arguments.nights else None
    return gate(baseline, candidate, rules, added)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m orchestrator compare",
        description="Show what got worse between two snapshots (results folders), or over many (docs/nightly.md). "
        "Exit code 1: a regression beyond the threshold, or a cell stopped working or vanished; "
        "2: bad input, or nothing is comparable or certain.",
    )
    parser.add_argument("baseline", nargs="?", metavar="BASELINE", help="results folder or file; local, s3:// or gs://")
    parser.add_argument("candidate", nargs="?", metavar="CANDIDATE", help="results to compare with the baseline")
    parser.add_argument("--history", metavar="DIR", help="find the changes over all snapshots in DIR")
    parser.add_argument(
        "--threshold",
        type=_share,
        metavar="SHARE",
        help=f"relative loss that fails (default {_GATE_THRESHOLD}; with --history {_HISTORY_THRESHOLD})",
    )
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    parser.add_argument(
        "--across",
        type=_facets,
        default=(),
        metavar="WHAT,...",
        help=f"compare even if these differ: {', '.join([*FACETS, MIXED])}",
    )
    parser.add_argument("--allow-gone", action="store_true", help="do not fail if cells are gone from the candidate")
    parser.add_argument(
        "--nights",
        metavar="DIR",
        help="folder of earlier snapshots, to estimate the noise that a snapshot adds",
    )
    parser.add_argument(
        "--false-alarms",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="largest share of reports without a change that contain a false one (default 0.01)",
    )
    parser.add_argument(
        "--burst",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="longest expected burst of load: if all repeats began within it, a change is doubtful (default 60)",
    )
    parser.add_argument("--traceback", action="store_true", help="print the traceback of an error")
    parser.add_argument(
        "--recent",
        type=int,
        default=5,
        metavar="SNAPSHOTS",
        help="with --history: a loss fails while it is at most this many snapshots old (default 5)",
    )
    return parser


class _Parser(argparse.ArgumentParser):
    """Rejects arguments that do not belong together."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        parsed = super().parse_args(args, namespace)
        if parsed.history and (parsed.baseline or parsed.nights or parsed.allow_gone):
            self.error("--history cannot be combined with BASELINE, CANDIDATE, --nights or --allow-gone")
        if not parsed.history and not parsed.candidate:
            self.error("give two snapshots to compare (BASELINE CANDIDATE), or --history DIR")
        return parsed


def _share(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        hint = f"; did you mean {value / 100:g}?" if 1 <= value < 100 else ""
        raise argparse.ArgumentTypeError(f"{word!r} is not a number between 0 and 1{hint}")
    return value


def _seconds(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds")
    return value


def _facets(words: str) -> tuple[str, ...]:
    known = [*FACETS, MIXED]
    facets = tuple(word.strip() for word in words.split(","))
    for facet in facets:
        if facet not in known:
            near = get_close_matches(facet, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
            raise argparse.ArgumentTypeError(f"unknown condition {facet!r}; {hint}")
    return facets

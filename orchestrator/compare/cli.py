"""`python -m orchestrator compare`: arguments, exit codes, and which format goes to standard output."""

import argparse
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from orchestrator.compare import markdown, text
from orchestrator.compare.figures import FACETS, MIXED
from orchestrator.compare.gate import gate
from orchestrator.compare.history import history, night_noise, read_nights
from orchestrator.compare.night import read_night
from orchestrator.compare.rules import Rules
from orchestrator.compare.verdicts import GateReport, HistoryReport
from orchestrator.load import LoadError

_OK, _REGRESSION, _BAD_INPUT = 0, 1, 2
_GATE_THRESHOLD = 0.05
"""What five repeats at 2 % noise can tell from chance over hundreds of cells."""
_HISTORY_THRESHOLD = 0.02
"""Many nights tell finer."""


_PRINTERS: dict[str, Callable[[GateReport | HistoryReport], str]] = {
    "text": text.render,
    "markdown": markdown.render,
    "json": lambda found: found.model_dump_json(indent=2),
}


def main(argv: list[str]) -> int:
    """Compare two nights, or look over many; print the verdict.

    Returns:
        0: nothing to stop for; 1: a regression beyond the threshold, or a cell stopped working or vanished; 2: the
        results cannot be read, nothing in them is comparable, or all repeats ran within one burst of load: a gate that
        could not fail does not pass.
    """
    arguments = _parser().parse_args(argv)
    try:
        report = _report(arguments)
        printed = _PRINTERS[arguments.format](report)
    except Exception as exc:  # exit code 1 is a regression's alone
        if arguments.traceback:
            traceback.print_exc()
        print(f"error: {_in_a_line(exc)}", file=sys.stderr)
        return _BAD_INPUT
    print(printed)
    if not report.passed:
        return _REGRESSION
    uncertain = isinstance(report, GateReport) and report.nothing_certain
    return _BAD_INPUT if uncertain or not report.judged else _OK


def _in_a_line(exc: Exception) -> str:
    if isinstance(exc, LoadError):
        return str(exc)
    message = " ".join(f"{type(exc).__name__}: {exc}".split())
    return f"comparing failed with {message} (a fault of joulegrid's; --traceback shows where)"


def _report(arguments: argparse.Namespace) -> GateReport | HistoryReport:
    usual = _HISTORY_THRESHOLD if arguments.history else _GATE_THRESHOLD
    rules = Rules(
        threshold=usual if arguments.threshold is None else arguments.threshold,
        false_alarms=arguments.false_alarms,
        burst_s=arguments.burst,
        across=frozenset(arguments.across),
        allow_gone=arguments.allow_gone,
        recent=arguments.recent,
    )
    if arguments.history:
        return history(read_nights(arguments.history), rules)
    baseline, candidate = read_night(arguments.baseline), read_night(arguments.candidate)
    if not baseline.cells.keys() & candidate.cells.keys():
        raise LoadError(
            f"{arguments.candidate} (sweep {candidate.info.sweep!r}) has no cell in common with {arguments.baseline} "
            f"(sweep {baseline.info.sweep!r}): cells are matched by all their settings"
        )
    nights = night_noise(read_nights(arguments.nights), rules.across) if arguments.nights else None
    return gate(baseline, candidate, rules, nights)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m orchestrator compare",
        description="What got worse between two nights, or over many (docs/nightly.md). "
        "Exit code 1: a regression beyond the threshold, or a cell stopped working or vanished; "
        "2: bad input, or nothing that can be compared or be certain.",
    )
    parser.add_argument("baseline", nargs="?", metavar="BASELINE", help="results folder or file; local, s3:// or gs://")
    parser.add_argument("candidate", nargs="?", metavar="CANDIDATE", help="what is compared with it")
    parser.add_argument("--history", metavar="DIR", help="a folder with results of many nights: name each change")
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
        help=f"compare although these differ: {', '.join([*FACETS, MIXED])}",
    )
    parser.add_argument("--allow-gone", action="store_true", help="cells that are no longer there fail nothing")
    parser.add_argument("--nights", metavar="DIR", help="earlier nights, to learn what a night adds to the noise")
    parser.add_argument(
        "--false-alarms",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="nights (histories) without any change that may hold a false finding (default 0.01)",
    )
    parser.add_argument(
        "--burst",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="bursts of load that may not pass for a change: repeats all begun within one are doubtful (default 60)",
    )
    parser.add_argument("--traceback", action="store_true", help="where an error was raised, too")
    parser.add_argument(
        "--recent",
        type=int,
        default=5,
        metavar="NIGHTS",
        help="with --history: a loss fails while it is at most this many nights old (default 5)",
    )
    return parser


class _Parser(argparse.ArgumentParser):
    """Knows which arguments belong together."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        found = super().parse_args(args, namespace)
        if found.history and (found.baseline or found.nights or found.allow_gone):
            self.error("--history looks at all nights of its folder: no BASELINE, CANDIDATE, --nights or --allow-gone")
        if not found.history and not found.candidate:
            self.error("two results to compare (BASELINE CANDIDATE), or --history DIR")
        return found


def _share(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        hint = f", perhaps {value / 100:g}" if 1 <= value < 100 else ""
        raise argparse.ArgumentTypeError(f"{word!r} is no share between 0 and 1{hint}")
    return value


def _seconds(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of seconds")
    return value


def _facets(words: str) -> tuple[str, ...]:
    known = [*FACETS, MIXED]
    found = tuple(word.strip() for word in words.split(","))
    for word in found:
        if word not in known:
            near = get_close_matches(word, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            raise argparse.ArgumentTypeError(f"{word!r} is nothing that comparisons depend on{hint}")
    return found

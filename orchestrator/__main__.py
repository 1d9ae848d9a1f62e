"""The command line: `python -m orchestrator sweep.yaml`, and the other commands.

Exit codes:
    0    every cell is ok, or skipped because the GPU or a library does not support it
    1    a cell is not; `compare` found a regression; `doctor` found a problem
    2    the input is invalid, or no Ray cluster can be joined or started
    3    the results, or the output of a command, could not be written
    4    Ray was lost during the sweep
    70   a bug or a broken installation, with the traceback
    130  stopped by Ctrl-C
    143  stopped by SIGTERM
"""

import argparse
import datetime as dt
import difflib
import shlex
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from orchestrator import stdio
from workers.records.gc_pause import gc_paused
from workers.records.text import printable

FAULT_EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h."""

_LOG_COLUMNS = 160

COMMANDS = {
    "estimate": ("orchestrator.commands.estimate", "what an inference costs, without running it"),
    "plan": ("orchestrator.commands.plan", "the cells of a sweep, without running it"),
    "compare": ("orchestrator.commands.compare", "a candidate against a baseline: better, worse, or not comparable"),
    "report": ("orchestrator.commands.report", "results as an HTML page"),
    "schema": ("orchestrator.commands.schema", "JSON Schema of the sweep file"),
    "doctor": ("orchestrator.commands.doctor", "what works on this machine, what is missing, how to fix it"),
}
"""Command -> module with `main(argv) -> int`, imported only when it is called, and the help text."""


def main(argv: Sequence[str]) -> int:
    """Run the command line, and return the exit code.

    Args:
        argv: The arguments after the program's name.
    """
    if argv and argv[0] in COMMANDS:
        return int(import_module(COMMANDS[argv[0]][0]).main(list(argv[1:])))
    if argv and (similar := difflib.get_close_matches(argv[0], COMMANDS, n=1)) and not Path(argv[0]).exists():
        return _stop(f"{argv[0]}: neither a file nor a command; did you mean {similar[0]!r}?", 2)
    parser = _parser()
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    arguments = parser.parse_args(argv)
    return _sweep(
        arguments.sweep,
        fresh=arguments.fresh,
        retry_failed=arguments.retry_failed,
        fail_on_skipped=arguments.fail_on_skipped,
    )


def _sweep(path: Path, *, fresh: bool, retry_failed: bool, fail_on_skipped: bool) -> int:
    """Run a sweep file and print its results."""
    with gc_paused():
        from rich.console import Console

        from orchestrator import config, report, sweep
        from orchestrator.interrupt import Interrupted
        from orchestrator.schedule import LOST_EXIT_CODE, ClusterError, ClusterLost
        from orchestrator.store import StoreError

    # Outside a terminal, rich would assume a width of 80 columns.
    console = Console(width=None if sys.stdout.isatty() else _LOG_COLUMNS)
    try:
        loaded = config.load(path)
        finished = sweep.run(
            loaded,
            folder=path.parent,
            console=console,
            fresh=fresh,
            retry_failed=retry_failed,
        )
    except (config.SweepError, ClusterError) as error:
        return _stop(str(error), 2)
    except StoreError as error:
        return _stop(str(error), 3)
    except Interrupted as interrupted:
        command = _command(path, loaded.out_date, retry_failed=retry_failed, fail_on_skipped=fail_on_skipped)
        cause = f"{interrupted.__cause__}\n" if interrupted.__cause__ else ""  # says where finished runs were saved
        return _stop(f"{cause}stopped; to continue: {command}", interrupted.exit_code)
    except ClusterLost as lost:
        command = _command(path, loaded.out_date, retry_failed=retry_failed, fail_on_skipped=fail_on_skipped)
        return _stop(f"{lost}\nstopped; to continue: {command}", LOST_EXIT_CODE)
    summary = finished.summary
    console.print(report.table(summary.first_rows))
    if summary.cells > len(summary.first_rows):
        console.print(f"... and {summary.cells - len(summary.first_rows)} more cells")
    skipped = f", {summary.unsupported} skipped" if summary.unsupported else ""
    message = f"{summary.ok} of {summary.cells} cells ok{skipped}; results: {finished.out}"
    console.print(message, markup=False, soft_wrap=True)
    return 1 if fail_on_skipped and summary.unsupported else summary.exit_code


def _parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  {command:<10}{text}" for command, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator",
        usage="%(prog)s SWEEP.yaml [--fresh] [--retry-failed] [--fail-on-skipped]\n       %(prog)s COMMAND ...",
        description="Run a sweep file. If it stops, run the same command again to continue.",
        epilog=f"other commands (each with --help):\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sweep", metavar="SWEEP.yaml", type=Path, help="the sweep file (YAML)")
    parser.add_argument("--fresh", action="store_true", help="discard the results of earlier runs, and start over")
    parser.add_argument("--retry-failed", action="store_true", help="measure failed runs again")
    parser.add_argument(
        "--fail-on-skipped",
        action="store_true",
        help="exit with 1 also for cells that the GPU or a library does not support",
    )
    return parser


def _command(path: Path, out_date: dt.date | None, *, retry_failed: bool, fail_on_skipped: bool) -> str:
    """The command that continues the sweep, even after midnight."""
    date = f"JOULEGRID_DATE={out_date} " if out_date else ""
    flags = f"{' --retry-failed' if retry_failed else ''}{' --fail-on-skipped' if fail_on_skipped else ''}"
    return f"{date}python -m orchestrator {shlex.quote(str(path))}{flags}"


def _stop(message: str, code: int) -> int:
    print(printable(message), file=sys.stderr)
    return code


def program(argv: Sequence[str]) -> int:
    """Run `main` as a process. A write error of stdout is a failure only for a command that just prints."""
    with stdio.write_errors_tolerated() as errors:
        try:
            code = main(argv)
        except SystemExit as exit_:  # from argparse
            code = int(exit_.code or 0)
        except KeyboardInterrupt:  # before a sweep handles the signal, or in another command
            code = 130
        except Exception:  # not Python's exit code 1, which means a failed cell here
            traceback.print_exc()
            code = FAULT_EXIT_CODE
        sys.stdout.flush()  # may fail, too
        if (error := errors.reportable) is not None:
            _stop(f"cannot write to stdout: {error.strerror}", code)
            code = 3 if argv and argv[0] in COMMANDS else code
    return code


if __name__ == "__main__":
    sys.exit(program(sys.argv[1:]))

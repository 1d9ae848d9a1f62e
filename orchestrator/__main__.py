"""`python -m orchestrator sweep.yaml`, and the commands around it.

Exit codes: 0 every cell is ok, or skipped because the card or a library cannot do it; 1 one is not (or `compare` found
a regression, or `doctor` something broken); 2 the input is wrong, or there is no Ray to run on; 3 the results could not
be kept, or what a command prints could not be written; 4 Ray was lost in the middle; 70 a fault of this program's own,
or of its installation, with the traceback; 130 and 143 stopped by Ctrl-C or SIGTERM.
"""

import argparse
import datetime as dt
import difflib
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from orchestrator import stdio
from workers.imports import uncollected
from workers.records.text import printable

FAULT_EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h."""

_LOG_COLUMNS = 160

COMMANDS = {
    "estimate": ("orchestrator.estimate", "cost an inference before anyone rents a GPU"),
    "plan": ("orchestrator.plan_command", "every cell of a sweep, before it runs"),
    "compare": ("orchestrator.compare", "baseline against candidate: better, worse, or not comparable"),
    "report": ("orchestrator.report", "results as one HTML page"),
    "schema": ("orchestrator.schema", "JSON Schema of the sweep file"),
    "doctor": ("orchestrator.doctor", "what works here, what a sweep would miss, how to mend it"),
}
"""Word -> module with `main(argv) -> int`, and what it does; imported only when it is called."""


def main(argv: Sequence[str], **equipment: Callable[..., Any]) -> int:
    """Do what the command line says; returns the exit code.

    Args:
        argv: The words after the program's name.
        equipment: What `sweep.run` takes of stand-ins for what measures.
    """
    if argv and argv[0] in COMMANDS:
        return int(import_module(COMMANDS[argv[0]][0]).main(list(argv[1:])))
    if argv and (near := difflib.get_close_matches(argv[0], COMMANDS, n=1)) and not Path(argv[0]).exists():
        return _stop(f"{argv[0]}: neither a file nor a command; did you mean {near[0]!r}?", 2)
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
        **equipment,
    )


def _sweep(
    path: Path, *, fresh: bool, retry_failed: bool, fail_on_skipped: bool, **equipment: Callable[..., Any]
) -> int:
    """Run a sweep file and show what came of it."""
    with uncollected():
        from rich.console import Console

        from orchestrator import config, report, sweep
        from orchestrator.interrupt import Interrupted
        from orchestrator.schedule import LOST_EXIT_CODE, ClusterError, ClusterLost
        from orchestrator.store import StoreError

    # A log has no width of its own, and rich would take it for 80 columns.
    console = Console(width=None if sys.stdout.isatty() else _LOG_COLUMNS)
    try:
        loaded = config.load(path)
        finished = sweep.run(
            loaded,
            folder=path.parent,
            console=console,
            fresh=fresh,
            retry_failed=retry_failed,
            **equipment,
        )
    except (config.SweepError, ClusterError) as error:
        return _stop(str(error), 2)
    except StoreError as error:
        return _stop(str(error), 3)
    except Interrupted as interrupted:
        command = _command(path, loaded.out_date, retry_failed=retry_failed, fail_on_skipped=fail_on_skipped)
        refused = f"{interrupted.__cause__}\n" if interrupted.__cause__ else ""  # where finished runs were rescued
        return _stop(f"{refused}stopped; to go on: {command}", interrupted.exit_code)
    except ClusterLost as lost:
        command = _command(path, loaded.out_date, retry_failed=retry_failed, fail_on_skipped=fail_on_skipped)
        return _stop(f"{lost}\nstopped; to go on: {command}", LOST_EXIT_CODE)
    console.print(report.table(finished.shown))
    if finished.cells > len(finished.shown):
        console.print(f"... and {finished.cells - len(finished.shown)} more cells")
    skipped = f", {finished.unsupported} skipped" if finished.unsupported else ""
    ended = f"{finished.ok} of {finished.cells} cells ok{skipped}; results: {finished.out}"
    console.print(ended, markup=False, soft_wrap=True)
    return 1 if fail_on_skipped and finished.unsupported else finished.exit_code


def _parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  {word:<10}{what}" for word, (_, what) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator",
        usage="%(prog)s SWEEP.yaml [--fresh] [--retry-failed] [--fail-on-skipped]\n       %(prog)s COMMAND ...",
        description="Run a sweep file. Started again, the same command goes on where it stopped.",
        epilog=f"other commands (each with --help):\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sweep", metavar="SWEEP.yaml", type=Path, help="the sweep file (YAML)")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before, and start over")
    parser.add_argument("--retry-failed", action="store_true", help="measure failed runs again")
    parser.add_argument(
        "--fail-on-skipped", action="store_true", help="exit 1 also for cells that the card or a library cannot do"
    )
    return parser


def _command(path: Path, out_date: dt.date | None, *, retry_failed: bool, fail_on_skipped: bool) -> str:
    """The command that goes on, whenever it is given: also after midnight."""
    date = f"JOULEGRID_DATE={out_date} " if out_date else ""
    flags = f"{' --retry-failed' if retry_failed else ''}{' --fail-on-skipped' if fail_on_skipped else ''}"
    return f"{date}python -m orchestrator {shlex.quote(str(path))}{flags}"


def _stop(message: str, code: int) -> int:
    print(printable(message), file=sys.stderr)
    return code


def program(argv: Sequence[str], **equipment: Callable[..., Any]) -> int:
    """`main` as a process, whatever becomes of its stdout; a command that only prints has failed where that has."""
    with stdio.outlived() as refused:
        try:
            code = main(argv, **equipment)
        except SystemExit as ended:  # from argparse
            code = int(ended.code or 0)
        except KeyboardInterrupt:  # before a sweep takes the signal over, or in another command
            code = 130
        except Exception:  # Python's own code would be 1, which says that something was measured and is not well
            traceback.print_exc()
            code = FAULT_EXIT_CODE
        sys.stdout.flush()  # the last of it may be refused, too
        if refused.loss is not None:
            _stop(f"stdout: {refused.loss.strerror}", code)
            code = 3 if argv and argv[0] in COMMANDS else code
    return code


if __name__ == "__main__":
    sys.exit(program(sys.argv[1:]))

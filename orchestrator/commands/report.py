"""`python -m orchestrator report RESULTS [--out report.html]`."""

import argparse
import sys
from pathlib import Path

from orchestrator.report.numbers import count_cells
from orchestrator.report.page import render
from orchestrator.results.reader import load, unexpected_content


def main(argv: list[str]) -> int:
    """Write the page.

    Returns:
        0 if the page is written; 2 if it cannot be, with one line on standard error.
    """
    arguments = _parser().parse_args(argv)
    try:
        rows = load(arguments.results).results.to_pylist()
        arguments.out.write_text(render(rows), encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"report: {error}\n")
        return 2
    except Exception as error:  # for example a missing column, or a time that is not a date
        sys.stderr.write(f"report: {unexpected_content(arguments.results, error)}\n")
        return 2
    print(f"{arguments.out}: {count_cells(len(rows))}, {arguments.out.stat().st_size / 1e6:.1f} MB, opens offline")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator report", description="Write one HTML page that opens offline."
    )
    parser.add_argument(
        "results",
        metavar="RESULTS",
        help="the results folder of a sweep or its results.parquet; a local path, s3:// or gs://",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="the page to write (default: report.html)"
    )
    return parser

"""`python -m orchestrator report RESULTS [--out report.html]`."""

import argparse
import sys
from pathlib import Path

from orchestrator.load import load, senseless
from orchestrator.report.page import render


def main(argv: list[str]) -> int:
    """Write the page; 0 where it is written, 2 with one line on standard error where it cannot be."""
    arguments = _parser().parse_args(argv)
    try:
        rows = load(arguments.results).results.to_pylist()
        arguments.out.write_text(render(rows), encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"report: {error}\n")
        return 2
    except Exception as error:  # a column that is not there, a time that is no date
        sys.stderr.write(f"report: {senseless(arguments.results, error)}\n")
        return 2
    print(f"{arguments.out}: {len(rows)} cells, {arguments.out.stat().st_size / 1e6:.1f} MB, opens offline")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator report", description="One HTML page that opens offline."
    )
    parser.add_argument(
        "results", metavar="RESULTS", help="the sweep's folder or its results.parquet, local or s3://, gs://"
    )
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page to write (report.html)")
    return parser

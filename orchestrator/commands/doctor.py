"""`python -m orchestrator doctor`: what works here, what a sweep would lack, and how to fix it."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from workers.records import Finding

_LEAST_FREE_GB = 1.0
_LABELS = {"ok": "ok", "missing": "-", "broken": "BROKEN"}


def main(argv: Sequence[str]) -> int:
    """Print the findings; 1 where a sweep could not run."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator doctor",
        description="What works on this machine, what a sweep would lack, and how to fix it.",
    )
    parser.add_argument("--out", type=Path, default=Path("results"), help="where results would go (default: results)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    findings = [*_workers(), _ray(), _disk(arguments.out)]
    if arguments.json:
        print(json.dumps([finding.model_dump() for finding in findings], indent=2))
    else:
        print(*_lines(findings), sep="\n")
    return 1 if any(finding.level == "broken" for finding in findings) else 0


def _workers() -> list[Finding]:
    """What a worker process finds. It is a separate process because the driver never loads torch."""
    command = [sys.executable, "-m", "workers.machine.doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [Finding(what="worker process", level="broken", found=last, misses="no sweep can run")]
    return [Finding.model_validate(finding) for finding in json.loads(lines[-1])]


def _ray() -> Finding:
    from orchestrator.schedule import describe

    where = os.environ.get("RAY_ADDRESS", "a cluster on this host, or a new one")
    try:
        nodes = describe.nodes()
    except Exception as error:
        fix = "unset RAY_ADDRESS to run here, or see `ray status`"
        return Finding(what="Ray", level="broken", found=f"{where}: {error}", misses="no sweep can run", fix=fix)
    return Finding(what="Ray", level="ok", found="; ".join(nodes))


def _disk(out: Path) -> Finding:
    try:
        folder = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    except OSError as error:  # an invalid file name, or a folder without read permission
        problem = f"{out!s:.200}: {error.strerror}"
        return Finding(what="output", level="broken", found=problem, misses="no results can be written")
    free_gb = shutil.disk_usage(folder).free / 1e9
    found = f"{free_gb:.1f} GB free at {folder}"
    if not os.access(folder, os.W_OK):
        return Finding(
            what="output", level="broken", found=f"{folder} is not writable", misses="no results can be written"
        )
    if free_gb < _LEAST_FREE_GB:
        return Finding(what="output", level="broken", found=found, misses="a sweep may run out of disk space")
    return Finding(what="output", level="ok", found=found)


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """One line for each finding, and one below it for its effect and the fix."""
    for finding in findings:
        yield f"{_LABELS[finding.level]:<8}{finding.what:<26}{finding.found}"
        if effect := ". ".join(text for text in (finding.misses, finding.fix) if text):
            yield " " * 8 + effect

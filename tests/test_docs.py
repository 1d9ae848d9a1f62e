"""Every command in README.md and docs/ is run, in the order of its page, or says beside it why it is not.

A page's blocks run one after the other in one copy of the project's folder:

- `sh`, `python` and `sql` blocks are run (SQL by DuckDB, and it must find rows). They have to end with exit code 0;
  another is announced by `<!-- exits 0 or 1: REASON -->` in the line before the block.
- A `text` block after one of them is what it prints; `...` stands for anything.
- A `yaml` block whose first line is `# NAME.yaml` is saved by that name.
- Blocks of any other kind (or of none) are shown, not run.

`<!-- not run: REASON -->` in the line before it is the only way for a block not to be run.
"""

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.results import columns
from orchestrator.results.rows import AggregatedResult
from tests.support import snapshot_rows

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", PROJECT / "ARCHITECTURE.md", *sorted((PROJECT / "docs").glob("*.md"))]
NEEDED = ("Makefile", "pyproject.toml", "constraints.txt", "examples", "docs")
NIGHTS = ("2026-01-28", "2026-01-29", "2026-01-30", "2026-01-31")
"""The nights that pages compare."""

RUN = {
    "sh": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "sql": [sys.executable, "-c", "import duckdb, sys; sys.exit(not duckdb.execute(sys.argv[1]).fetchall())"],
}
SHOWN = {"", "text", "yaml", "json", "cron", "ini", "promql"}
BLOCK = re.compile(r"^(?:<!-- (?P<mark>.+?) -->\n)?```(?P<kind>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"not run: \S.*|exits (?P<codes>\d+( or \d+)*): \S.*")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    place: str
    kind: str
    text: str
    mark: str
    output: str | None
    """What the page says that it prints."""

    @property
    def is_run(self) -> bool:
        return self.kind in RUN and not self.mark.startswith("not run: ")

    @property
    def codes(self) -> set[int]:
        found = MARK.fullmatch(self.mark)
        return {int(code) for code in found["codes"].split(" or ")} if found and found["codes"] else {0}


def blocks(page: Path) -> Iterator[Block]:
    source = page.read_text(encoding="utf-8")
    found = list(BLOCK.finditer(source))
    for match, following in zip(found, [*found, None][1:], strict=True):
        line = source.count("\n", 0, match.start("kind")) + 1
        between = source[match.end() : following.start()] if following else ""
        answered = following is not None and following["kind"] == "text" and not between.strip()
        yield Block(
            f"{page.name}:{line}", match["kind"], match["text"], match["mark"] or "",
            following["text"] if following and answered else None,
        )  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_shown_or_says_why_not(page):
    found = list(blocks(page))
    fences = re.findall(r"^\s*```", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(found), "a fence that is indented, or not closed, would not be seen"
    for block in found:
        assert block.kind in RUN.keys() | SHOWN, f"{block.place}: what is a {block.kind!r} block?"
        assert not block.mark or MARK.fullmatch(block.mark), f"{block.place}: what does {block.mark!r} mean?"
        shown_command = block.kind in SHOWN and re.search(r"^(\$ |python -m |make |ray )", block.text, re.MULTILINE)
        assert not shown_command, f"{block.place}: a command in a block that is not run: {shown_command[0]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_picture_is_small_and_a_picture():
    picture = (PROJECT / "docs" / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n")
    assert len(picture) < 300_000


def with_environment(folder: Path) -> dict[str, str]:
    """Give `folder` this test's environment as its `.venv`, as `make` leaves it; returns the variables to run in."""
    environment = folder / ".venv"
    environment.mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (environment / part).symlink_to(Path(sys.prefix) / part)
    (environment / "program").touch()  # newer than what it is made from: `make` has nothing to set up
    return os.environ | {
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1", "COLUMNS": "120",
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }  # fmt: skip


def nights(folder: Path) -> None:
    """Results of a few nights, simulated."""
    rng = np.random.default_rng(6)
    for day, name in enumerate(NIGHTS, start=1):
        start_s = day * snapshot_rows.DAY_S
        rows = [snapshot_rows.row(i, snapshot_rows.noisy(rng), started_unix_s=start_s) for i in range(8)]
        (folder / name).mkdir(parents=True)
        pq.write_table(columns.table(AggregatedResult, rows), folder / name / "results.parquet")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project's folder, in which the quick start was run as the README says, and some nights were."""
    folder = tmp_path_factory.mktemp("docs") / "joulegrid"
    folder.mkdir()
    for name in NEEDED:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, folder / name)
    environment = with_environment(folder)
    run(["make", "quickstart"], folder, environment)
    nights(folder / "results")
    return folder, environment


def run(command, folder, environment):
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=600,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_do_what_it_says(page, project):
    folder, environment = project
    for block in blocks(page):
        named = re.match(r"# ([\w.-]+\.yaml)\n", block.text)
        if block.kind == "yaml" and named:
            (folder / named[1]).write_text(block.text)
        if not block.is_run:
            continue
        code, output = run([*RUN[block.kind], block.text], folder, environment)
        assert code in block.codes, f"{block.place} ended with {code}:\n{block.text}\n{output}"
        if block.output is not None:
            alike = doctest.OutputChecker().check_output(block.output, output, doctest.ELLIPSIS)
            assert alike, f"{block.place} prints:\n{output}"

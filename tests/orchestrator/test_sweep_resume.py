"""The same command continues a sweep: which runs it keeps, and which it measures again."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from orchestrator.__main__ import main
from orchestrator.results.writer import RAW, RESULTS
from orchestrator.sweep import Finished, run
from tests.support.sweeps import lines, settings, sweep

pytestmark = pytest.mark.usefixtures("ray_session")


class Sweep:
    """A sweep in its own folder that is run several times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.output = ""

    def run(
        self, acts: Iterable[dict[str, Any]], more: Mapping[str, Any] = MappingProxyType({}), **flags: bool
    ) -> Counter[str]:
        """Run it; returns how often each cell was measured, by the name of its act."""
        self.log.write_text("")
        logged = [act | {"log": str(self.log)} for act in acts]
        # One process measures everything.
        config = sweep(logged, out=str(self.folder / "out"), placement={"exclusive_node": True}, **more)
        console = Console(file=io.StringIO(), width=300)
        self.finished: Finished = run(config, folder=self.folder, console=console, **flags)
        self.output = console.file.getvalue()  # type: ignore[attr-defined]
        return Counter(self.acts[key] for key, *_ in lines(self.log))

    @property
    def acts(self) -> dict[str, str]:
        """Key of each finished run in the journal -> name of its act."""
        entries = {path: json.loads(path.read_text()) for path in self.journal.glob("*.json")}
        return {
            path.stem: entry["outcome"]["run"]["cell"]["generate"]["act"]["name"] for path, entry in entries.items()
        }

    @property
    def journal(self) -> Path:
        return self.folder / "out" / "journal"

    def file(self, name: str) -> Path:
        (key,) = (key for key, act in self.acts.items() if act == name)
        return self.journal / f"{key}.json"

    @property
    def statuses(self) -> list[str]:
        rows = pq.read_table(self.folder / "out" / RESULTS, columns=["status"])
        return [str(status) for status in rows["status"].to_pylist()]


@pytest.fixture
def again(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


A, B, BAD = {"name": "a"}, {"name": "b"}, {"name": "bad", "raises": "no"}


def test_finished_runs_are_not_measured_again_but_changed_cells_are(again: Sweep) -> None:
    assert again.run([A, B]) == {"a": 1, "b": 1}
    assert again.run([A, B]) == {}
    assert (again.finished.summary.exit_code, again.finished.summary.cells) == (0, 2)
    assert again.run([A, {"name": "changed"}]) == {"changed": 1}
    assert again.statuses == ["ok", "ok"]


@pytest.mark.slow
def test_failures_are_kept_unless_retried(again: Sweep) -> None:
    assert again.run([A, BAD]) == {"a": 1, "bad": 1}
    assert again.finished.summary.exit_code == 1
    assert again.run([A, BAD]) == {}
    assert (again.finished.summary.exit_code, again.statuses) == (1, ["ok", "failed"])
    assert again.run([A, BAD], retry_failed=True) == {"bad": 1}
    assert again.run([A, BAD], fresh=True) == {"a": 1, "bad": 1}


def test_a_failed_cell_is_not_repeated_unless_failures_are_retried(again: Sweep) -> None:
    repeats = {"repeats": 3}
    assert again.run([A, BAD], repeats) == {"a": 3, "bad": 1}
    assert again.run([A, BAD], repeats) == {}
    row = pq.read_table(again.folder / "out" / RESULTS).to_pylist()[1]
    assert (row["status"], row["error_message"], row["attempts"], row["repeats_ok"]) == ("failed", "no", 1, 0)
    raw = [row for row in pq.read_table(again.folder / "out" / RAW).to_pylist() if row["status"] == "failed"]
    assert [row["error_message"] for row in raw] == ["no", *["not tried: repeat 0 failed: no"] * 2]
    assert again.run([A, {"name": "bad"}], repeats) == {"bad": 3}
    assert again.run([A, BAD], repeats, retry_failed=True) == {"bad": 1}


def test_all_repeats_are_attempted_of_a_cell_with_a_successful_repeat(again: Sweep) -> None:
    late = {"name": "late", "raises": "no", "on_repeat": 1}
    assert again.run([late]) == {"late": 1}
    assert again.run([late], {"repeats": 3}) == {"late": 2}
    row = pq.read_table(again.folder / "out" / RESULTS).to_pylist()[0]
    assert (row["status"], row["repeats_ok"]) == ("failed", 2)


def test_an_unsupported_cell_is_skipped_and_a_failure_only_with_fail_on_skipped(
    again: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"precisions": ["fp32", "tf32"]}  # tf32 is a mode of GPUs, and the simulated ones are not real
    again.run([A], more)
    assert again.statuses == ["ok", "skipped"]
    assert (again.finished.summary.ok, again.finished.summary.unsupported, again.finished.summary.exit_code) == (
        1,
        1,
        0,
    )
    file = again.folder / "sweep.yaml"
    file.write_text(json.dumps(settings([A], out=str(again.folder / "out"), **more)))
    assert main([str(file), "--fail-on-skipped"]) == 1
    assert "1 of 2 cells ok, 1 skipped; results: " in capsys.readouterr().out


def test_a_cell_without_capacity_is_a_failure(again: Sweep) -> None:
    again.run([A], {"axes": {"processes": [1, 16], "batch_size": 16}})
    assert again.statuses == ["ok", "skipped"]
    assert (again.finished.summary.ok, again.finished.summary.unsupported, again.finished.summary.exit_code) == (
        1,
        0,
        1,
    )


def test_each_run_that_failed_or_printed_has_a_log_and_rows_name_it(again: Sweep) -> None:
    talks = {"name": "talks", "prints": "hello from inside"}
    killed = {"name": "killed", "prints": "last words", "kills": ""}
    again.run([A, talks, BAD | {"prints": "before it raised"}, killed], {"max_attempts": 1})
    logs = again.folder / "out" / "logs"
    text = {again.acts[path.stem]: path.read_text() for path in logs.iterdir()}
    assert set(text) == {"talks", "bad", "killed"}
    assert text["talks"].count("hello from inside") == 2
    assert "RuntimeError: no" in text["bad"]
    assert "Traceback (most recent call last)" in text["bad"]
    assert "before it raised" in text["bad"]
    assert "last words" in text["killed"]
    assert "lost, ActorDiedError" in text["killed"]
    assert not any(word in text["killed"] for word in ("hello from inside", "before it raised"))
    for table in (RESULTS, RAW):
        rows = pq.read_table(again.folder / "out" / table, columns=["status", "cell_id", "error_log"]).to_pylist()
        assert {row["error_log"] for row in rows if row["status"] == "ok"} == {None}
        named = {row["error_log"] for row in rows if row["status"] != "ok"}
        assert named == {f"logs/{again.file(name).stem}.log" for name in ("bad", "killed")}


@pytest.mark.slow
def test_the_output_of_a_run_that_hung_is_in_its_log(again: Sweep) -> None:
    hangs = {"name": "hangs", "prints": "waiting for nothing", "sleep_s": 600}
    again.run([A, hangs], {"timeout_s": 30})
    assert again.statuses == ["ok", "timeout"]
    assert "waiting for nothing" in (again.folder / "out" / "logs" / f"{again.file('hangs').stem}.log").read_text()


def test_the_log_of_a_failure_is_deleted_when_the_run_is_ok_and_prints_nothing(again: Sweep, tmp_path: Path) -> None:
    flaky = {"name": "flaky", "kills": str(tmp_path / "killed")}
    once = {"max_attempts": 1}
    again.run([flaky], once)
    assert [path.stem for path in (again.folder / "out" / "logs").iterdir()] == [again.file("flaky").stem]
    assert again.run([flaky], once, retry_failed=True) == {"flaky": 1}
    assert again.statuses == ["ok"]
    assert list((again.folder / "out" / "logs").iterdir()) == []


def test_a_smaller_sweep_reports_how_many_finished_cells_its_tables_omit(again: Sweep) -> None:
    again.run([A, B, BAD])
    assert "not in the tables" not in again.output
    again.run([A])
    assert "not in the tables: 2 finished runs of 2 cells that this sweep does not contain" in again.output
    assert again.statuses == ["ok"]


def test_the_first_line_names_the_cluster(again: Sweep) -> None:
    again.run([A])
    assert again.output.splitlines()[0] == "the Ray cluster of this process: 1 node, 8 GPUs, 8 CPUs"


@pytest.mark.slow
def test_another_environment_measures_again(again: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert again.run([A]) == {"a": 1}
    other = tmp_path / "packages" / "calflops-99.dist-info"  # what pip leaves behind after an upgrade
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: calflops\nVersion: 99\n")
    monkeypatch.syspath_prepend(other.parent)
    assert again.run([A]) == {"a": 1}
    assert again.run([A]) == {}


@pytest.mark.slow
def test_a_run_of_the_other_device_is_measured_again(again: Sweep) -> None:
    again.run([A])
    entry = again.file("a").read_text()
    assert '"device":"cuda"' in entry
    again.file("a").write_text(entry.replace('"device":"cuda"', '"device":"cpu"', 1))
    assert again.run([A]) == {"a": 1}


def test_damaged_files_are_reported_and_moved_and_their_runs_measured_again(again: Sweep) -> None:
    acts = [{"name": name} for name in ("truncated", "garbage", "empty", "renamed", "edited", "sound")]
    again.run(acts)
    whole = again.file("truncated").read_bytes()
    paths = {name: again.file(name) for name in again.acts.values()}
    paths["truncated"].write_bytes(whole[: len(whole) // 2])
    paths["garbage"].write_bytes(bytes(range(256)))
    paths["empty"].write_bytes(b"")
    paths["renamed"].write_bytes(paths["sound"].read_bytes())
    paths["edited"].write_text(paths["edited"].read_text().replace('"output_tokens":32', '"output_tokens":33', 1))
    (again.journal / "notes.txt").write_text("no run of ours")
    assert again.run(acts) == dict.fromkeys(("truncated", "garbage", "empty", "renamed", "edited"), 1)
    for name in ("truncated", "garbage", "empty", "renamed", "edited"):
        assert f"{again.folder}/out/journal-corrupt/{paths[name].name}" in again.output
    assert (again.folder / "out/journal-corrupt" / paths["truncated"].name).read_bytes() == whole[: len(whole) // 2]
    assert again.statuses == ["ok"] * 6


def test_a_skipped_run_is_decided_again(again: Sweep) -> None:
    again.run([A])
    entry = json.loads(again.file("a").read_text())
    entry["outcome"] |= {
        "results": [],
        "failure": {"cell_id": again.file("a").stem.split(".")[0], "repeat": 0, "status": "skipped",
                    "error_type": "NoRoom", "error_message": "there was no capacity", "attempt": 0},
    }  # fmt: skip
    again.file("a").write_text(json.dumps(entry))
    assert again.run([A]) == {"a": 1}

"""The same command goes on where it stopped: what is taken over, and what is measured anew."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq
import pytest
from equipment import StandIn, lines, not_estimated, settings, sweep
from rich.console import Console

from orchestrator import store
from orchestrator.__main__ import main
from orchestrator.sweep import Finished, run

pytestmark = pytest.mark.usefixtures("ray_session")


class Sweep:
    """A sweep in a folder of its own that is run again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.said = ""

    def run(
        self, acts: Iterable[dict[str, Any]], more: Mapping[str, Any] = MappingProxyType({}), **flags: bool
    ) -> Counter[str]:
        """Run it; returns how often each cell was measured, by its output tokens, which only name it here."""
        self.log.write_text("")
        logged = [act | {"log": str(self.log)} for act in acts]
        # One process does it all: tests need no second one.
        asked = sweep(logged, out=str(self.folder / "out"), placement={"exclusive_node": True}, **more)
        console = Console(file=io.StringIO(), width=300)
        self.finished: Finished = run(
            asked, folder=self.folder, console=console, make=StandIn, estimate=not_estimated, **flags
        )
        self.said = console.file.getvalue()  # type: ignore[attr-defined]
        return Counter(self.acts[key] for key, *_ in lines(self.log))

    @property
    def acts(self) -> dict[str, str]:
        """What each finished run did, by its key in the journal."""
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
        rows = pq.read_table(self.folder / "out" / store.RESULTS, columns=["status"])
        return [str(status) for status in rows["status"].to_pylist()]


@pytest.fixture
def again(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


A, B, BAD = {"name": "a"}, {"name": "b"}, {"name": "bad", "raises": "no"}


def test_what_is_finished_is_not_measured_again_and_a_changed_cell_is(again: Sweep) -> None:
    assert again.run([A, B]) == {"a": 1, "b": 1}
    assert again.run([A, B]) == {}
    assert (again.finished.exit_code, again.finished.cells) == (0, 2)
    assert again.run([A, {"name": "changed"}]) == {"changed": 1}
    assert again.statuses == ["ok", "ok"]


@pytest.mark.slow
def test_failures_are_kept_unless_they_are_to_be_retried(again: Sweep) -> None:
    assert again.run([A, BAD]) == {"a": 1, "bad": 1}
    assert again.finished.exit_code == 1
    assert again.run([A, BAD]) == {}
    assert (again.finished.exit_code, again.statuses) == (1, ["ok", "failed"])
    assert again.run([A, BAD], retry_failed=True) == {"bad": 1}
    assert again.run([A, BAD], fresh=True) == {"a": 1, "bad": 1}


def test_a_cell_that_failed_is_not_repeated_until_failures_are_to_be_retried(again: Sweep) -> None:
    repeats = {"repeats": 3}
    assert again.run([A, BAD], repeats) == {"a": 3, "bad": 1}
    assert again.run([A, BAD], repeats) == {}
    row = pq.read_table(again.folder / "out" / store.RESULTS).to_pylist()[1]
    assert (row["status"], row["error_message"], row["attempts"], row["repeats_ok"]) == ("failed", "no", 1, 0)
    raw = [row for row in pq.read_table(again.folder / "out" / store.RAW).to_pylist() if row["status"] == "failed"]
    assert [row["error_message"] for row in raw] == ["no", *["not tried: repeat 0 failed: no"] * 2]
    assert again.run([A, {"name": "bad"}], repeats) == {"bad": 3}
    assert again.run([A, BAD], repeats, retry_failed=True) == {"bad": 1}


def test_a_cell_of_which_a_repeat_was_ok_before_is_tried_to_the_end(again: Sweep) -> None:
    late = {"name": "late", "raises": "no", "on_repeat": 1}
    assert again.run([late]) == {"late": 1}
    assert again.run([late], {"repeats": 3}) == {"late": 2}
    row = pq.read_table(again.folder / "out" / store.RESULTS).to_pylist()[0]
    assert (row["status"], row["repeats_ok"]) == ("failed", 2)


def test_what_the_card_or_a_library_cannot_do_is_skipped_and_no_failure_unless_it_is_to_be_one(
    again: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"precisions": ["fp32", "tf32"]}  # tf32 is a mode of GPUs, and there is none behind these
    again.run([A], more)
    assert again.statuses == ["ok", "skipped"]
    assert (again.finished.ok, again.finished.unsupported, again.finished.exit_code) == (1, 1, 0)
    file = again.folder / "sweep.yaml"
    file.write_text(json.dumps(settings([A], out=str(again.folder / "out"), **more)))
    assert main([str(file), "--fail-on-skipped"], make=StandIn, estimate=not_estimated) == 1
    assert "1 of 2 cells ok, 1 skipped; results: " in capsys.readouterr().out


def test_a_cell_that_found_no_room_is_a_failure(again: Sweep) -> None:
    again.run([A], {"axes": {"processes": [1, 16], "batch_size": 16}})
    assert again.statuses == ["ok", "skipped"]
    assert (again.finished.ok, again.finished.unsupported, again.finished.exit_code) == (1, 0, 1)


def test_each_run_that_failed_or_printed_has_a_log_that_its_row_names(again: Sweep) -> None:
    talks = {"name": "talks", "prints": "hello from inside"}
    killed = {"name": "killed", "prints": "last words", "kills": ""}
    again.run([A, talks, BAD | {"prints": "before it raised"}, killed], {"max_attempts": 1})
    logs = again.folder / "out" / "logs"
    said = {again.acts[path.stem]: path.read_text() for path in logs.iterdir()}
    assert set(said) == {"talks", "bad", "killed"}
    assert said["talks"].count("hello from inside") == 2
    assert "RuntimeError: no" in said["bad"]
    assert "Traceback (most recent call last)" in said["bad"]
    assert "before it raised" in said["bad"]
    assert "last words" in said["killed"]
    assert "lost, ActorDiedError" in said["killed"]
    assert not any(word in said["killed"] for word in ("hello from inside", "before it raised"))
    for table in (store.RESULTS, store.RAW):
        rows = pq.read_table(again.folder / "out" / table, columns=["status", "cell_id", "error_log"]).to_pylist()
        assert {row["error_log"] for row in rows if row["status"] == "ok"} == {None}
        named = {row["error_log"] for row in rows if row["status"] != "ok"}
        assert named == {f"logs/{again.file(name).stem}.log" for name in ("bad", "killed")}


@pytest.mark.slow
def test_what_a_run_that_hung_has_printed_is_in_its_log(again: Sweep) -> None:
    hangs = {"name": "hangs", "prints": "waiting for nothing", "sleep_s": 600}
    again.run([A, hangs], {"timeout_s": 30})
    assert again.statuses == ["ok", "timeout"]
    assert "waiting for nothing" in (again.folder / "out" / "logs" / f"{again.file('hangs').stem}.log").read_text()


def test_the_log_of_a_failure_goes_when_the_run_is_ok_and_prints_nothing(again: Sweep, tmp_path: Path) -> None:
    flaky = {"name": "flaky", "kills": str(tmp_path / "killed")}
    once = {"max_attempts": 1}
    again.run([flaky], once)
    assert [path.stem for path in (again.folder / "out" / "logs").iterdir()] == [again.file("flaky").stem]
    assert again.run([flaky], once, retry_failed=True) == {"flaky": 1}
    assert again.statuses == ["ok"]
    assert list((again.folder / "out" / "logs").iterdir()) == []


def test_a_narrower_sweep_says_which_finished_cells_its_tables_leave_out(again: Sweep) -> None:
    again.run([A, B, BAD])
    assert "left out" not in again.said
    again.run([A])
    assert "left out of the tables: 2 finished runs of 2 cells that this sweep does not ask for" in again.said
    assert again.statuses == ["ok"]


def test_the_first_line_says_which_cluster_the_sweep_runs_on(again: Sweep) -> None:
    again.run([A])
    assert again.said.splitlines()[0] == "the Ray cluster of this process: 1 node, 8 GPUs, 8 CPUs"


@pytest.mark.slow
def test_another_environment_measures_anew(again: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert again.run([A]) == {"a": 1}
    other = tmp_path / "packages" / "calflops-99.dist-info"  # what pip leaves behind after an upgrade
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: calflops\nVersion: 99\n")
    monkeypatch.syspath_prepend(other.parent)
    assert again.run([A]) == {"a": 1}
    assert again.run([A]) == {}


@pytest.mark.slow
def test_a_run_that_was_made_on_the_other_device_is_measured_anew(again: Sweep) -> None:
    again.run([A])
    entry = again.file("a").read_text()
    assert '"device":"cuda"' in entry
    again.file("a").write_text(entry.replace('"device":"cuda"', '"device":"cpu"', 1))
    assert again.run([A]) == {"a": 1}


def test_damaged_files_are_named_set_aside_and_measured_anew(again: Sweep) -> None:
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
        assert f"{again.folder}/out/journal-corrupt/{paths[name].name}" in again.said
    assert (again.folder / "out/journal-corrupt" / paths["truncated"].name).read_bytes() == whole[: len(whole) // 2]
    assert again.statuses == ["ok"] * 6


def test_a_skipped_run_is_asked_about_again(again: Sweep) -> None:
    again.run([A])
    entry = json.loads(again.file("a").read_text())
    entry["outcome"] |= {
        "results": [],
        "failure": {"cell_id": again.file("a").stem.split(".")[0], "repeat": 0, "status": "skipped",
                    "error_type": "NoRoom", "error_message": "there was no room", "attempt": 0},
    }  # fmt: skip
    again.file("a").write_text(json.dumps(entry))
    assert again.run([A]) == {"a": 1}

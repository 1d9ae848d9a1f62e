import json
import pickle
import shutil
from pathlib import Path

import pytest

from orchestrator import grid
from orchestrator.store import Folder, Journal, StoreError
from orchestrator.store import journal as store_journal
from tests.support.buckets import Bucket
from tests.support.sweeps import sweep
from workers.engines.fake import fake_result
from workers.records import Outcome, ProcessFailure, Run


def runs(count: int) -> list[Run]:
    config = sweep({} for _ in range(count))
    return grid.runs(grid.expand(config), config)


def good(run: Run) -> Outcome:
    return Outcome(run=run, results=(fake_result(run),))


def failed(run: Run, status: str) -> Outcome:
    what = {
        "cell_id": run.cell.cell_id,
        "repeat": run.repeat,
        "status": status,
        "error_type": "E",
        "error_message": "no",
    }
    return Outcome(run=run, failure=ProcessFailure.model_validate(what))


def journal(folder: Folder, environment: str = "e", device: str | None = "cuda") -> Journal:
    return Journal(folder, environment, device)


def test_outcomes_are_read_back_unchanged_in_the_requested_order(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    outcomes = [good(run) for run in runs(3)]
    for outcome in outcomes:
        journal(folder).append(outcome)
    requested = [outcome.run for outcome in reversed(outcomes)]
    assert list(journal(folder).outcomes(requested)) == outcomes[::-1]


def test_only_runs_that_need_no_repetition_are_finished(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    several = runs(6)
    journal(folder).append(good(several[0]))
    for run, status in zip(several[1:], ["failed", "oom", "timeout", "lost", "skipped"], strict=True):
        journal(folder).append(failed(run, status))
    keys = [run.key for run in several]
    assert journal(folder).finished().keys() == set(keys[:5])
    assert journal(folder).finished(retry_failed=True) == {keys[0]: "ok"}
    assert journal(folder).finished(among=keys[1:3]).keys() == set(keys[1:3])
    assert journal(folder, environment="another").finished().keys() == set()
    assert journal(folder, device="cpu").finished().keys() == set()
    assert journal(folder, device=None).finished().keys() == set(keys[:5])


def test_a_damaged_file_stays_until_it_is_moved(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "x.0.json").write_text("{")
    found = journal(Folder(str(tmp_path)))
    assert found.finished().keys() == set()
    assert (tmp_path / "journal" / "x.0.json").exists()
    assert found.move_corrupt() == [f"{tmp_path}/journal-corrupt/x.0.json"]
    assert not (tmp_path / "journal" / "x.0.json").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("results",), []),
        (("results", 0, "inference_metrics", "window_s"), 0.0),
        (("results", 0, "inference_metrics", "generations"), 0),
        (("results", 0, "pid"), 2**63),
        (("results", 0, "load_s"), 1e300),
        (("results", 0, "energy_metrics", "gpu_energy_j"), 5e-324),
        (("results", 0, "window_end_unix_s"), 1e8),
        (("results", 0, "measured_batch_size"), 10**9),
        (("results", 0, "rank"), 1),
        (("results", 1, "rank"), 0),
        (("results", 0, "cell_id"), "0123456789abcdef"),
        (("results", 0, "repeat"), 1),
        (("run", "repeat"), 10**30),
        (("earlier_failures", 0, "attempt"), 2**63),
    ],
)
def test_a_file_that_no_measurement_could_have_written_is_corrupt(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    folder = Folder(str(tmp_path))
    config = sweep([{}], axes={"processes": [2], "batch_size": [2]})
    (run,) = grid.runs(grid.expand(config), config)
    lost = failed(run, "lost").failure
    assert lost is not None
    results = (fake_result(run), fake_result(run, rank=1))
    journal(folder).append(Outcome(run=run, results=results, earlier_failures=(lost,)))
    file = tmp_path / "journal" / f"{run.key}.json"
    entry = json.loads(file.read_text())
    inner = entry["outcome"]
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    file.write_text(json.dumps(entry))
    found = journal(folder)
    assert found.finished().keys() == set()
    assert found.move_corrupt() == [f"{tmp_path}/journal-corrupt/{file.name}"]


def test_a_missing_run_is_an_error_and_not_skipped(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    first, second = runs(2)
    journal(folder).append(good(first))
    with pytest.raises(StoreError, match=f"{second.key}.json was written, and is now missing"):
        list(journal(folder).outcomes([first, second]))


def test_clear_deletes_every_run(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    for run in runs(3):
        journal(folder).append(good(run))
    journal(folder).clear()
    assert journal(folder).finished().keys() == set()


@pytest.mark.slow
def test_runs_that_a_full_disk_rejects_are_saved_elsewhere_and_can_be_copied_back(
    small_disk: Path, tmp_path: Path
) -> None:
    folder = Folder(str(small_disk))
    filled = small_disk / "filled"
    several = runs(3)
    kept = journal(folder)
    kept.append(good(several[0]))
    kept.check()
    with pytest.raises(OSError, match="No space left"):
        filled.write_bytes(b"x" * 2_000_000)
    for run in several[1:]:
        kept.append(good(run))
    assert kept.refused
    with pytest.raises(StoreError, match="No space left on device") as caught:
        kept.check()
    message = str(caught.value)
    assert f"into {small_disk}/journal/" in message
    rescued = Path(message.partition("copy ")[2].partition("/*.json")[0])
    filled.unlink()
    for file in rescued.glob("*.json"):
        (small_disk / "journal" / file.name).write_bytes(file.read_bytes())
        file.unlink()
    rescued.rmdir()
    assert journal(folder).finished().keys() == {run.key for run in several}
    assert not list((small_disk / "journal").glob("*.part"))


class Taken:
    """A lock that another driver took over."""

    lost = True

    def check(self) -> None:
        raise StoreError("this folder is being written by process 7")


def test_nothing_is_written_to_a_folder_that_another_driver_took_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_journal, "_RETRY_PAUSES_S", ())
    (run,) = runs(1)
    kept = Journal(Folder(str(tmp_path / "out")), "e", "cuda", Taken())
    kept.append(good(run))
    assert kept.refused
    assert not (tmp_path / "out").exists()
    with pytest.raises(StoreError, match=r"written by process 7\. Finished runs saved elsewhere: 1") as caught:
        kept.check()
    rescued = Path(str(caught.value).partition("copy ")[2].partition("/*.json")[0])
    assert [file.stem for file in rescued.iterdir()] == [run.key]
    shutil.rmtree(rescued)


@pytest.mark.slow
def test_a_journal_in_a_bucket_behaves_the_same(bucket: Bucket) -> None:
    folder = Folder(bucket.url())
    first, second, third = runs(3)
    kept = journal(folder)
    for run in (first, second):
        kept.append(good(run))
    assert bucket.keys == sorted(f"out/journal/{run.key}.json" for run in (first, second))
    bucket.put(f"out/journal/{second.key}.json", b"{")
    assert kept.finished().keys() == {first.key}
    assert kept.move_corrupt() == [f"s3://{bucket.name}/out/journal-corrupt/{second.key}.json"]
    bucket.remove()
    kept.append(good(third))
    with pytest.raises(StoreError, match=f"s3://{bucket.name}/out/journal/{third.key}.json") as caught:
        kept.check()
    (rescued,) = Path(str(caught.value).partition("copy ")[2].partition("/*.json")[0]).glob("*.json")
    assert json.loads(rescued.read_text())["outcome"]["run"]["cell"]["precision"] == "fp32"
    rescued.unlink()
    rescued.parent.rmdir()


def test_a_pickle_in_the_journal_is_not_executed(tmp_path: Path) -> None:
    """As an attacker with access to the output folder would put it there."""
    (tmp_path / "journal").mkdir()
    (run,) = runs(1)
    (tmp_path / "journal" / f"{run.key}.json").write_bytes(pickle.dumps(Touches(tmp_path / "touched")))
    found = journal(Folder(str(tmp_path)))
    assert found.finished().keys() == set()
    assert found.move_corrupt()
    assert not (tmp_path / "touched").exists()


class Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)

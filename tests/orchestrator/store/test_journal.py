import json
import pickle
import shutil
from pathlib import Path

import pytest
from buckets import Bucket
from equipment import result, sweep

from orchestrator import plan
from orchestrator.store import Folder, Journal, StoreError
from orchestrator.store import journal as store_journal
from workers.records import Outcome, ProcessFailure, Run


def runs(count: int) -> list[Run]:
    asked = sweep({} for _ in range(count))
    return plan.runs(plan.expand(asked), asked)


def good(run: Run) -> Outcome:
    return Outcome(run=run, results=(result(run),))


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


def test_runs_come_back_as_they_were_in_the_order_asked_for(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    outcomes = [good(run) for run in runs(3)]
    for outcome in outcomes:
        journal(folder).append(outcome)
    asked = [outcome.run for outcome in reversed(outcomes)]
    assert list(journal(folder).outcomes(asked)) == outcomes[::-1]


def test_only_what_need_not_be_made_again_is_finished(tmp_path: Path) -> None:
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


def test_looking_changes_nothing_where_a_file_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "x.0.json").write_text("{")
    found = journal(Folder(str(tmp_path)))
    assert found.finished().keys() == set()
    assert (tmp_path / "journal" / "x.0.json").exists()
    assert found.set_corrupt_aside() == [f"{tmp_path}/journal-corrupt/x.0.json"]
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
def test_a_file_that_no_measurement_could_have_written_is_set_aside(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    folder = Folder(str(tmp_path))
    asked = sweep([{}], axes={"processes": [2], "batch_size": [2]})
    (run,) = plan.runs(plan.expand(asked), asked)
    lost = failed(run, "lost").failure
    assert lost is not None
    results = (result(run), result(run, rank=1))
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
    assert found.set_corrupt_aside() == [f"{tmp_path}/journal-corrupt/{file.name}"]


def test_a_run_that_went_missing_is_an_error_and_no_gap(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    first, second = runs(2)
    journal(folder).append(good(first))
    with pytest.raises(StoreError, match=f"{second.key}.json was written, and is now missing"):
        list(journal(folder).outcomes([first, second]))


def test_starting_over_forgets_every_run(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    for run in runs(3):
        journal(folder).append(good(run))
    journal(folder).clear()
    assert journal(folder).finished().keys() == set()


@pytest.mark.slow
def test_runs_that_a_full_disk_refuses_are_rescued_and_can_be_put_back(small_disk: Path, tmp_path: Path) -> None:
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
    said = str(caught.value)
    assert f"into {small_disk}/journal/" in said
    rescued = Path(said.partition("copy ")[2].partition("/*.json")[0])
    filled.unlink()
    for file in rescued.glob("*.json"):
        (small_disk / "journal" / file.name).write_bytes(file.read_bytes())
        file.unlink()
    rescued.rmdir()
    assert journal(folder).finished().keys() == {run.key for run in several}
    assert not list((small_disk / "journal").glob("*.part"))


class Taken:
    """A lock that another driver has taken."""

    lost = True

    def check(self) -> None:
        raise StoreError("this folder is being written by process 7")


def test_nothing_is_written_into_a_folder_that_another_driver_has_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_journal, "_TRIES_S", ())
    (run,) = runs(1)
    kept = Journal(Folder(str(tmp_path / "out")), "e", "cuda", Taken())
    kept.append(good(run))
    assert kept.refused
    assert not (tmp_path / "out").exists()
    with pytest.raises(StoreError, match=r"written by process 7\. Finished runs that were rescued: 1") as caught:
        kept.check()
    rescued = Path(str(caught.value).partition("copy ")[2].partition("/*.json")[0])
    assert [file.stem for file in rescued.iterdir()] == [run.key]
    shutil.rmtree(rescued)


def test_a_bucket_keeps_the_same_promises(bucket: Bucket) -> None:
    folder = Folder(bucket.url())
    first, second, third = runs(3)
    kept = journal(folder)
    for run in (first, second):
        kept.append(good(run))
    assert bucket.keys == sorted(f"out/journal/{run.key}.json" for run in (first, second))
    bucket.put(f"out/journal/{second.key}.json", b"{")
    assert kept.finished().keys() == {first.key}
    assert kept.set_corrupt_aside() == [f"s3://{bucket.name}/out/journal-corrupt/{second.key}.json"]
    bucket.remove()
    kept.append(good(third))
    with pytest.raises(StoreError, match=f"s3://{bucket.name}/out/journal/{third.key}.json") as caught:
        kept.check()
    (rescued,) = Path(str(caught.value).partition("copy ")[2].partition("/*.json")[0]).glob("*.json")
    assert json.loads(rescued.read_text())["outcome"]["run"]["cell"]["precision"] == "fp32"
    rescued.unlink()
    rescued.parent.rmdir()


def test_a_pickle_in_the_journal_is_not_run(tmp_path: Path) -> None:
    """As an attacker with a hand on the output would put it there."""
    (tmp_path / "journal").mkdir()
    (run,) = runs(1)
    (tmp_path / "journal" / f"{run.key}.json").write_bytes(pickle.dumps(Touches(tmp_path / "touched")))
    found = journal(Folder(str(tmp_path)))
    assert found.finished().keys() == set()
    assert found.set_corrupt_aside()
    assert not (tmp_path / "touched").exists()


class Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)

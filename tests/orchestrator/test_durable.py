"""`durable.place` in a folder laid out as Ray lays out a job's copy of its working folder."""

from pathlib import Path

import pytest

from orchestrator.durable import place
from orchestrator.store import StoreError


@pytest.fixture
def rays_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ray/session_1/runtime_resources/working_dir_files/_ray_pkg_0123"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def test_a_relative_place_begins_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place("results/a", on_head=lambda: False) == str(tmp_path / "results/a")


def test_in_a_job_a_relative_place_goes_home_on_the_head_node(rays_copy: Path, tmp_path: Path) -> None:
    assert place("results/a", on_head=lambda: True) == str(tmp_path / "home/joulegrid/results/a")


def test_in_a_job_a_relative_place_is_refused_on_any_other_node(rays_copy: Path) -> None:
    with pytest.raises(StoreError, match=r"'results/a' is relative.*absolute path on shared storage, or s3://"):
        place("results/a", on_head=lambda: False)


@pytest.mark.parametrize("on_head", [True, False])
@pytest.mark.parametrize("out", ["/shared/a", "s3://bucket/a?region=x", "gs://bucket/a"])
def test_a_place_that_is_no_folder_of_the_job_stays(rays_copy: Path, out: str, on_head: bool) -> None:
    assert place(out, on_head=lambda: on_head) == out


@pytest.mark.parametrize("on_head", [True, False])
def test_the_home_folder_is_meant_by_a_tilde_in_a_job_too(rays_copy: Path, tmp_path: Path, on_head: bool) -> None:
    assert place("~/a", on_head=lambda: on_head) == str(tmp_path / "home/a")


def test_a_link_into_rays_copy_is_seen_through(
    rays_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(rays_copy)
    monkeypatch.chdir(tmp_path / "link")
    assert place("a", on_head=lambda: True) == str(tmp_path / "home/joulegrid/a")

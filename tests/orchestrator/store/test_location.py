"""`location.resolve` in a folder laid out as Ray lays out a job's copy of its working folder."""

from pathlib import Path

import pytest

from orchestrator.store import StoreError
from orchestrator.store.location import resolve


@pytest.fixture
def rays_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ray/session_1/runtime_resources/working_dir_files/_ray_pkg_0123"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def test_a_relative_path_is_resolved_against_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("results/a", on_head=lambda: False) == str(tmp_path / "results/a")


def test_in_a_job_on_the_head_node_a_relative_path_is_resolved_against_the_home_folder(
    rays_copy: Path, tmp_path: Path
) -> None:
    assert resolve("results/a", on_head=lambda: True) == str(tmp_path / "home/joulegrid/results/a")


def test_in_a_job_on_another_node_a_relative_path_is_an_error(rays_copy: Path) -> None:
    with pytest.raises(StoreError, match=r"'results/a' is relative.*absolute path on shared storage, or s3://"):
        resolve("results/a", on_head=lambda: False)


@pytest.mark.parametrize("on_head", [True, False])
@pytest.mark.parametrize("out", ["/shared/a", "s3://bucket/a?region=x", "gs://bucket/a"])
def test_absolute_paths_and_urls_are_unchanged(rays_copy: Path, out: str, on_head: bool) -> None:
    assert resolve(out, on_head=lambda: on_head) == out


@pytest.mark.parametrize("on_head", [True, False])
def test_a_tilde_is_the_home_folder_in_a_job_too(rays_copy: Path, tmp_path: Path, on_head: bool) -> None:
    assert resolve("~/a", on_head=lambda: on_head) == str(tmp_path / "home/a")


def test_a_symlink_to_rays_copy_is_recognised(rays_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(rays_copy)
    monkeypatch.chdir(tmp_path / "link")
    assert resolve("a", on_head=lambda: True) == str(tmp_path / "home/joulegrid/a")

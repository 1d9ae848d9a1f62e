from pathlib import Path

import pytest

from orchestrator.store import Folder, StoreError
from tests.support.buckets import Bucket


@pytest.fixture(params=["disk", "file URL", "bucket"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "bucket":
        return str(request.getfixturevalue("bucket").url())
    return f"file://{tmp_path}/out" if request.param == "file URL" else str(tmp_path / "out")


def test_written_files_can_be_read_and_listed(out: str) -> None:
    folder = Folder(out)
    folder.write("journal/b.json", b"two")
    folder.write("journal/a.json", b"one")
    folder.write("journal/a.json", b"three")
    assert folder.names("journal") == ["a.json", "b.json"]
    assert Folder(out).read("journal/a.json") == b"three"


def test_a_missing_file_is_null_and_not_an_error(out: str) -> None:
    folder = Folder(out)
    assert folder.read("journal/a.json") is None
    assert folder.names("journal") == []
    folder.delete("journal/a.json")


def test_a_failed_write_leaves_the_old_file(out: str) -> None:
    folder = Folder(out)
    folder.write("table", b"old")

    def write_half() -> None:
        with folder.writing("table") as (file,):
            file.write(b"half")
            raise KeyError("the rows ran out")

    with pytest.raises(KeyError):
        write_half()
    assert folder.read("table") == b"old"
    assert folder.names("") == ["table"]


def test_a_file_can_be_moved(out: str) -> None:
    folder = Folder(out)
    folder.write("journal/a.json", b"x")
    folder.move("journal/a.json", "journal-corrupt/a.json")
    assert folder.names("journal") == []
    assert folder.read("journal-corrupt/a.json") == b"x"


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(small_disk: Path) -> None:
    folder = Folder(str(small_disk))
    with pytest.raises(StoreError, match=rf"cannot write {small_disk}/big: No space left on device"):
        folder.write("big", b"x" * 2_000_000)
    assert list(small_disk.iterdir()) == []
    folder.write("small", b"x")


def test_a_bucket_that_is_gone_is_an_error_that_names_it(bucket: Bucket) -> None:
    folder = Folder(bucket.url())
    bucket.remove()
    with pytest.raises(StoreError, match=f"cannot write s3://{bucket.name}/out/a: "):
        folder.write("a", b"x")


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        Folder(str(tmp_path / "out")).write("journal/a.json", b"x")


def test_a_write_does_not_follow_a_symlink_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / "out" / "results.parquet.part").symlink_to(precious)
    with pytest.raises(StoreError):
        Folder(str(tmp_path / "out")).write("results.parquet", b"x")
    assert precious.read_text() == "keep"


@pytest.mark.parametrize(
    "out",
    [
        "s3://AKIAKEY:sentinel-5ecret@bucket/x?region=us-east-1",
        "s3://AKIAKEY:sentinel-5ecret/w@bucket/x?region=us-east-1",
        "s3://k:sentinel-5ecret@/?region=us-east-1",
    ],
)
def test_credentials_in_a_url_are_never_shown(out: str) -> None:
    try:
        text = Folder(out).out + Folder(out).path("a")
    except StoreError as error:
        text = str(error)
    assert "bucket" in text or "cannot be opened" in text
    assert "sentinel" not in text


def test_an_unsupported_url_is_an_error() -> None:
    with pytest.raises(StoreError, match="ftp://host/x"):
        Folder("ftp://host/x")


def test_an_invalid_file_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"%00y' cannot be opened: .*null"):
        Folder(f"file://{tmp_path}/%00y").names("journal")


def test_a_google_bucket_is_supported() -> None:
    """Makes no request. Reading and writing use the same calls as with S3."""
    assert Folder("gs://anonymous@bucket/nightly").path("a") == "gs://[redacted]@bucket/nightly/a"
    assert Folder("gs://bucket/nightly?retry_limit_seconds=5").root is None

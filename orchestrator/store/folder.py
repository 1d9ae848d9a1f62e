"""A folder that survives the driver: on a disk, or in a bucket (`s3://`, `gs://`) through pyarrow's filesystems.

A name appears whole or not at all. On a disk that takes a file written aside, synced and renamed; a bucket's PUT is
like that by itself.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs

from workers.redact import redact

_ASIDE = ".part"
_IN_MEMORY_BYTES = 64 * 2**20

_OPTIONS = {
    "s3": ("allow_delayed_open", "true"),  # one request for a journal's two kilobytes, not the three of a multipart one
    "gs": ("retry_limit_seconds", "30"),  # a refusal is told in a minute or two, not after an hour
}
"""Scheme -> an option of pyarrow's file system that is set unless the URI sets it."""


class StoreError(Exception):
    """The results cannot be kept. The message names the place and says what to do; it holds no secret."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class Folder:
    """One output folder; names inside it are relative, with `/`.

    Args:
        out: A path, or a URI that pyarrow knows (`s3://bucket/nightly?region=eu-west-1`).

    Raises:
        StoreError: The place cannot be opened. All that touches the place raises it, where nothing else is said.
    """

    def __init__(self, out: str) -> None:
        self.out = redact(out)
        """The place as it may be shown: credentials in a URL are left out."""
        try:
            if "://" in out:
                self._fs, self._root = pafs.FileSystem.from_uri(_tuned(out))
            else:
                self._fs, self._root = pafs.LocalFileSystem(), str(Path(out).absolute())
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"out: {out!r} cannot be opened: {error}") from error
        self.is_local = isinstance(self._fs, pafs.LocalFileSystem)  # `file:///...` too

    def path(self, name: str) -> str:
        """Where `name` lies, as a person would write it."""
        return f"{self._root}/{name}" if self.is_local else f"{self.out.split('?')[0].rstrip('/')}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Put `data` under `name`, whole and durable when this returns."""
        with self.writing(name) as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes] | Any]:
        """A file that takes its name only when the block ends well.

        Raises:
            StoreError: The disk is full, the bucket refuses, the folder is not ours to write.
        """
        target = f"{self._root}/{name}"
        with self._stating("write", name):
            if self.is_local:
                with _aside_then_renamed(Path(target)) as file:
                    yield file
            else:
                with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
                    yield file
                    file.seek(0)
                    # Only now: closing a bucket's stream finishes the object, also when the block has failed.
                    with self._fs.open_output_stream(target) as stream:
                        shutil.copyfileobj(file, stream)

    def read(self, name: str) -> bytes | None:
        """The bytes under `name`; null where there is no such name."""
        with self._stating("read", name):
            try:
                with self._fs.open_input_stream(f"{self._root}/{name}", compression=None) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def names(self, inside: str) -> list[str]:
        """Names of the files directly in the subfolder `inside`, sorted; unfinished ones are not named."""
        with self._stating("list", inside):
            selector = pafs.FileSelector(f"{self._root}/{inside}", allow_not_found=True)
            files = [info.base_name for info in self._fs.get_file_info(selector) if info.type == pafs.FileType.File]
        return sorted(name for name in files if not name.endswith(_ASIDE))

    def move(self, name: str, to: str) -> None:
        """Rename within the folder."""
        with self._stating("move", name):
            if self.is_local:  # a bucket has no folders to make
                self._fs.create_dir(f"{self._root}/{to.rpartition('/')[0]}")
            self._fs.move(f"{self._root}/{name}", f"{self._root}/{to}")

    def delete(self, name: str) -> None:
        """Remove `name`; nothing happens where there is none."""
        with self._stating("delete", name), contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def _stating(self, verb: str, name: str) -> Iterator[None]:
        """Whatever the disk or the bucket says, said with the place and as one kind of error."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"cannot {verb} {self.path(name)}: {_reason(error)}") from error


@contextlib.contextmanager
def _aside_then_renamed(target: Path) -> Iterator[IO[bytes]]:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(target.name + _ASIDE)
    try:
        # Not through a link: what is written in the folder stays in the folder.
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            aside.unlink(missing_ok=True)
        raise
    # The rename itself is durable only once the folder is.
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _tuned(uri: str) -> str:
    """The URI with what pyarrow's defaults lack here; what it says itself stands."""
    option, value = _OPTIONS.get(uri.partition("://")[0], ("", ""))
    if not option or option in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}{option}={value}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())

"""Where results stay: under `ray job submit`, a relative `out` would lie in a working folder that Ray deletes."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.store import StoreError

_RAYS_COPIES = ("runtime_resources", "working_dir_files")


def place(out: str, *, on_head: Callable[[], bool]) -> str:
    """The folder or URL that `out` means here.

    Inside Ray's copy of a working folder, a relative `out` goes under `~/joulegrid` of the head node, which outlives
    the job. On any other node nothing local does. `on_head` is asked only there: it takes a connection to Ray.

    Raises:
        StoreError: A relative `out` in a job whose driver is not on the head node.
    """
    if "://" in out:
        return out
    here, folder = Path.cwd(), Path(out).expanduser()
    if folder.is_absolute() or not _is_rays_copy(here):
        return str(here / folder)
    if on_head():
        return str(Path.home() / "joulegrid" / folder)
    raise StoreError(
        f"out: {out!r} is relative, and this job's driver is not on the head node: its disk goes when the node does; "
        "give an absolute path on shared storage, or s3://bucket/folder"
    )


def _is_rays_copy(path: Path) -> bool:
    parts = path.resolve().parts
    return any(parts[i : i + 2] == _RAYS_COPIES for i in range(len(parts)))

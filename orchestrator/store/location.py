"""The location of results: under `ray job submit`, a relative `out` would be in a working folder that Ray deletes."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.store.folder import StoreError

_RAY_COPY = ("runtime_resources", "working_dir_files")


def resolve(out: str, *, on_head: Callable[[], bool]) -> str:
    """The absolute folder or URL of `out`.

    Inside Ray's copy of a working folder, a relative `out` is resolved against `~/joulegrid` on the head node, which
    outlives the job.

    Args:
        out: A path, absolute or relative, or a URL.
        on_head: Whether this process runs on the head node. Called only in a job with a relative `out`, because the
            answer needs a connection to Ray.

    Raises:
        StoreError: `out` is relative, in a job whose driver does not run on the head node.
    """
    if "://" in out:
        return out
    current, folder = Path.cwd(), Path(out).expanduser()
    if folder.is_absolute() or not _is_ray_copy(current):
        return str(current / folder)
    if on_head():
        return str(Path.home() / "joulegrid" / folder)
    raise StoreError(
        f"out: {out!r} is relative, and this job's driver does not run on the head node: the results would be lost "
        "with its node; give an absolute path on shared storage, or s3://bucket/folder"
    )


def _is_ray_copy(path: Path) -> bool:
    parts = path.resolve().parts
    return any(parts[i : i + 2] == _RAY_COPY for i in range(len(parts)))

"""A fingerprint of a local model folder, so that changed weights are measured again."""

import hashlib
from pathlib import Path

_SMALL_BYTES = 1_000_000
"""Size up to which a file's contents are hashed; larger ones (weights) count by name, size and time. Unit: bytes."""


def fingerprint(folder: Path) -> str:
    """SHA-256 over a model folder's files: the contents of small ones; the names, sizes and times of large ones.

    Weights are not read, because hashing 100 GB takes longer than many sweeps. If you copy a folder without its times
    or touch a file of weights, its cells become new ones: they are measured again, and no figure is wrong.

    Raises:
        ValueError: the folder has no `config.json`, so it is not a model folder.
        OSError: a file cannot be read.
    """
    if not (folder / "config.json").is_file():
        raise ValueError("the folder has no config.json, so it is not a model folder")
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder)):
        stat = file.stat()
        small = stat.st_size <= _SMALL_BYTES
        contents = hashlib.sha256(file.read_bytes()).hexdigest() if small else f"{stat.st_size}:{stat.st_mtime_ns}"
        total.update(f"{file.relative_to(folder).as_posix()}\0{contents}\0".encode())
    return total.hexdigest()


def _hidden(path: Path, folder: Path) -> bool:
    """Whether a tool owns the file (`.git`, `.cache`): it may change while the model does not."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)

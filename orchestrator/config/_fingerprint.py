"""What a local model folder holds, so that changed weights are measured anew."""

import hashlib
from pathlib import Path

_SMALL_BYTES = 1_000_000
"""Files up to this size are read; larger ones (weights) are known by name, size and time of change. Unit: bytes."""


def fingerprint(folder: Path) -> str:
    """SHA-256 over a model folder's files: contents of small ones; names, sizes and times of large ones.

    Weights are not read, for hashing 100 GB would take longer than many a sweep. Copying a folder without its times, or
    touching a file of weights, thus makes its cells new ones: that costs a measurement, never a wrong figure.

    Raises:
        ValueError: the folder has no `config.json`, and so is not a model's.
        OSError: a file cannot be read.
    """
    if not (folder / "config.json").is_file():
        raise ValueError("the folder has no config.json, so it is not a model's")
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder)):
        stat = file.stat()
        small = stat.st_size <= _SMALL_BYTES
        mark = hashlib.sha256(file.read_bytes()).hexdigest() if small else f"{stat.st_size}:{stat.st_mtime_ns}"
        total.update(f"{file.relative_to(folder).as_posix()}\0{mark}\0".encode())
    return total.hexdigest()


def _hidden(path: Path, folder: Path) -> bool:
    """Whether it is a tool's own (`.git`, `.cache`), which changes without the model changing."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)

"""Saves finished runs elsewhere when their output folder cannot be written, for example because a disk is full."""

import tempfile
import uuid
from collections import Counter
from pathlib import Path


class Rescue:
    """A folder on this host's disk for journal files that could not be written to the output folder."""

    def __init__(self) -> None:
        self._name = f"joulegrid-rescued-{uuid.uuid4().hex[:12]}"
        self._saved: Counter[Path] = Counter()
        self._lost: list[str] = []

    def put(self, name: str, data: bytes) -> None:
        """Save one file in the system's temporary folder, or in the home folder if that fails too."""
        for parent in (tempfile.gettempdir, Path.home):
            try:
                folder = Path(parent()) / self._name
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / name).write_bytes(data)
            except OSError:
                continue
            self._saved[folder] += 1
            return
        self._lost.append(name)

    def advice(self, journal: str) -> str:
        """One line that says where the runs were saved, and how to continue."""
        sentences = [
            f"Finished runs saved elsewhere: {count}; once writing works again, copy {folder}/*.json into {journal}/ "
            "and run the same command again"
            for folder, count in self._saved.items()
        ]
        if self._lost:
            sentences.append(f"Finished runs lost: {', '.join(self._lost)}")
        return ". ".join(sentences)

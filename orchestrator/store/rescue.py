"""Where finished runs go when their place refuses them: a measured run is not thrown away because a disk is full."""

import tempfile
import uuid
from collections import Counter
from pathlib import Path


class Rescue:
    """A folder on this host's own disk, with the journal's files that could not be written."""

    def __init__(self) -> None:
        self._name = f"joulegrid-rescued-{uuid.uuid4().hex[:12]}"
        self._kept: Counter[Path] = Counter()
        self._lost: list[str] = []

    def put(self, name: str, data: bytes) -> None:
        """Keep one file, under the system's temporary folder, or under home where that is full too."""
        for parent in (tempfile.gettempdir, Path.home):
            try:
                folder = Path(parent()) / self._name
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / name).write_bytes(data)
            except OSError:
                continue
            self._kept[folder] += 1
            return
        self._lost.append(name)

    def advice(self, journal: str) -> str:
        """What became of the runs, and what to do about it, in one line."""
        said = [
            f"Finished runs that were rescued: {count}; once the place takes them again, copy {folder}/*.json into "
            f"{journal}/ and start the same command"
            for folder, count in self._kept.items()
        ]
        if self._lost:
            said.append(f"Not even rescued: {', '.join(self._lost)}")
        return ". ".join(said)

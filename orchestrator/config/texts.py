"""Texts for prompts and perplexity, from JSONL, Parquet or plain text."""

import json
import re
from pathlib import Path

from workers.records import digest
from workers.records.errors import JouleGridError

_MAX_BYTES = 256_000_000
"""Size limit of a file of texts. Unit: bytes."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextsError(JouleGridError, ValueError):
    """A file without usable texts. The message is one line with the reason and, where there is one, the fix."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(one if one.isprintable() else " " for one in message).strip())


def read(path: Path, column: str = "text") -> tuple[str, ...]:
    """The texts of a file, in order: each row of JSONL (`.jsonl`) or Parquet (`.parquet`), each line of `.txt`.

    Raises:
        TextsError: the file does not exist, has an unknown extension, is broken, or has no `column` or no text.
    """
    readers = {".jsonl": _jsonl, ".parquet": _parquet, ".txt": _plain}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TextsError(f"{path.name:.200} has an unknown extension; use {', '.join(readers)}")
    try:
        if not path.is_file():
            raise TextsError(f"there is no file {path}")
        if path.stat().st_size > _MAX_BYTES:
            raise TextsError(f"{path.name} has {path.stat().st_size:,} bytes; shorten it to {_MAX_BYTES:,}")
        texts = reader(path, column)
    except OSError as error:
        raise TextsError(f"{path.name:.200} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TextsError(f"{path.name} is not UTF-8 (byte {error.start})") from error
    if not texts:
        raise TextsError(f"{path.name} contains no text")
    if any(map(_SURROGATE.search, texts)):
        raise TextsError(f"{path.name} contains half a character, such as '\\ud83d', which no tokenizer accepts")
    return texts


def read_whole(path: Path, column: str = "text") -> str:
    """All text of a file: a `.txt` file unchanged, the rows of another file joined by blank lines.

    Raises:
        TextsError: as `read`.
    """
    texts = read(path, column)
    return path.read_text(encoding="utf-8") if path.suffix.lower() == ".txt" else "\n\n".join(texts)


def sha256(texts: tuple[str, ...] | str) -> str:
    """The digest of texts that cells store: 16 hex digits."""
    return digest(texts)


def _plain(path: Path, _column: str) -> tuple[str, ...]:
    return tuple(line for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _jsonl(path: Path, column: str) -> tuple[str, ...]:
    texts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # too many digits, too many brackets
            reason = getattr(error, "msg", None) or error
            raise TextsError(f"{path.name} line {number} is not JSON: {reason}") from error
        if not isinstance(row, dict):
            raise TextsError(f"{path.name} line {number} is not a JSON object")
        texts.append(_text(row, column, f"{path.name} line {number}"))
    return tuple(texts)


def _parquet(path: Path, column: str) -> tuple[str, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                columns = ", ".join(names) or "none"
                raise TextsError(f"{path.name} has no column {column!r:.60}; it has {columns:.1000}: set `column`")
            values = file.read(columns=[column])[column].to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise TextsError(f"{path.name} is not a readable Parquet file: {error}") from error
    return tuple(_text({column: value}, column, f"{path.name} row {row}") for row, value in enumerate(values))


def _text(row: dict[str, object], column: str, where: str) -> str:
    if column not in row:
        keys = ", ".join(row) or "nothing"
        raise TextsError(f"{where} has no {column!r:.60}; it has {keys:.1000}: set `column`")
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise TextsError(f"{where}: {column!r} has no text: {value!r:.60}")
    return value

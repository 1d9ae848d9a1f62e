"""Texts for prompts and perplexity, from JSONL, Parquet or plain text."""

import json
import re
from pathlib import Path

from workers.records import digest

_MAX_BYTES = 256_000_000
"""A file of texts at most. Unit: bytes."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextsError(ValueError):
    """A file without usable texts; its message, one line, says why and what would do."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(one if one.isprintable() else " " for one in message).strip())


def read(path: Path, column: str = "text") -> tuple[str, ...]:
    """The texts of a file, in order: a row each of JSONL (`.jsonl`) or Parquet (`.parquet`), a line each of `.txt`.

    Raises:
        TextsError: no such file, of no known kind, broken, without `column`, or without any text.
    """
    readers = {".jsonl": _jsonl, ".parquet": _parquet, ".txt": _plain}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TextsError(f"{path.name:.200} is none of {', '.join(readers)}: its ending says how it is read")
    try:
        if not path.is_file():
            raise TextsError(f"there is no file {path}")
        if path.stat().st_size > _MAX_BYTES:
            raise TextsError(f"{path.name} has {path.stat().st_size:,} bytes, of {_MAX_BYTES:,} at most: cut it")
        texts = reader(path, column)
    except OSError as error:
        raise TextsError(f"{path.name:.200} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TextsError(f"{path.name} is not UTF-8 (byte {error.start})") from error
    if not texts:
        raise TextsError(f"{path.name} holds no text")
    if any(map(_SURROGATE.search, texts)):
        raise TextsError(f"{path.name} holds half a character, as '\\ud83d': no tokenizer can take it")
    return texts


def read_whole(path: Path, column: str = "text") -> str:
    """All of a file's text: a plain file as it stands, the rows of another joined by a blank line.

    Raises:
        TextsError: as `read`.
    """
    texts = read(path, column)
    return path.read_text(encoding="utf-8") if path.suffix.lower() == ".txt" else "\n\n".join(texts)


def sha256(texts: tuple[str, ...] | str) -> str:
    """16 hex digits over texts, by which cells know them."""
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
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
            said = getattr(error, "msg", None) or error
            raise TextsError(f"{path.name} line {number} is not JSON: {said}") from error
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
                has = ", ".join(names) or "none"
                raise TextsError(f"{path.name} has no column {column!r:.60}; it has {has:.1000}: set `column`")
            values = file.read(columns=[column])[column].to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise TextsError(f"{path.name} is not Parquet that can be read: {error}") from error
    return tuple(_text({column: value}, column, f"{path.name} row {row}") for row, value in enumerate(values))


def _text(row: dict[str, object], column: str, where: str) -> str:
    if column not in row:
        has = ", ".join(row) or "nothing"
        raise TextsError(f"{where} has no {column!r:.60}; it has {has:.1000}: set `column`")
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise TextsError(f"{where}: {column!r} holds no text but {value!r:.60}")
    return value

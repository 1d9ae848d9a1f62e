"""Texts from files: what is read, and the error of a file without texts."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config import texts


def test_jsonl_parquet_and_plain_text_give_the_same_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "eins"}\n\n{"text": "zw\\u00f6lf", "id": 3}\n', encoding="utf-8")
    (tmp_path / "a.txt").write_text("eins\n\nzwölf\n", encoding="utf-8")
    pq.write_table(pa.table({"id": [1, 2], "text": ["eins", "zwölf"]}), tmp_path / "a.parquet")
    read = [texts.read(tmp_path / name) for name in ("a.jsonl", "a.txt", "a.parquet")]
    assert read == [("eins", "zwölf")] * 3


def test_the_whole_text_is_the_file_or_its_rows_joined(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\n")
    (tmp_path / "a.jsonl").write_text('{"t": "One."}\n{"t": "Two."}\n')
    assert texts.read_whole(tmp_path / "a.txt") == "One.\n\nTwo.\n"
    assert texts.read_whole(tmp_path / "a.jsonl", "t") == "One.\n\nTwo."


def test_large_strings_and_dictionary_columns_are_text_too(tmp_path: Path) -> None:
    column = pa.array(["a", "b", "a"], pa.large_string()).dictionary_encode()
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    assert texts.read(tmp_path / "a.parquet") == ("a", "b", "a")


def test_the_digest_depends_on_where_each_text_ends() -> None:
    assert len({texts.sha256(("ab", "c")), texts.sha256(("a", "bc")), texts.sha256("abc")}) == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": }\n', r"a\.jsonl line 2 is not JSON"),
        ("a.jsonl", b'{"prompt": "x", "id": 1}\n', r"line 1 has no 'text'; it has prompt, id: set `column`"),
        ("a.jsonl", b'["x"]\n', r"line 1 is not a JSON object"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}\n', r"line 2: 'text' has no text: 3"),
        ("a.jsonl", b'{"text": "  "}\n', r"line 1: 'text' has no text: '  '"),
        ("a.jsonl", b"\n\n", r"a\.jsonl contains no text"),
        ("a.txt", b"caf\xe9", r"is not UTF-8 \(byte 3\)"),
        ("a.txt", b"", r"contains no text"),
        ("a.parquet", b"no parquet", r"a\.parquet is not a readable Parquet file"),
        ("a.csv", b"x", r"a\.csv has an unknown extension; use \.jsonl, \.parquet, \.txt"),
    ],
)
def test_an_unusable_file_gives_one_error_with_its_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(texts.TextsError, match=message):
        texts.read(tmp_path / name)


def test_the_error_of_a_missing_parquet_column_lists_the_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(texts.TextsError, match="no column 'text'; it has prompt: set `column`"):
        texts.read(tmp_path / "a.parquet")


def test_a_missing_row_of_a_parquet_column_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x", None]}), tmp_path / "a.parquet")
    with pytest.raises(texts.TextsError, match="row 1: 'text' has no text: None"):
        texts.read(tmp_path / "a.parquet")

"""Reading any file gives a sweep, texts, or one readable error, never a traceback."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import config, grid
from orchestrator.config import texts

ROOT = Path(__file__).parents[2]
VALID = [file.read_bytes() for file in sorted((ROOT / "examples").glob("*.yaml"))] + [
    file.read_bytes() for file in sorted((Path(__file__).parent / "config" / "bad_sweeps").glob("*.yaml"))
]
ANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

KEYS = [
    *config.SweepFile.model_fields, *config.AXES, "source", "config", "model_type", "model", "precision", "shuffled",
    "file", "text", "generate.top_p", "generate.foo", "load.foo", "load.", ".", "",
]  # fmt: skip
VALUES = [
    None, True, 0, -1, 1, 2**31, 2**63, 10**40, 0.5, float("nan"), float("inf"), "", "x", "llama", "fp32", "cuda",
    "{name}", "{", "{0}", "{date!r:>{name}}", "~", "~nobody", "../..", "a\0b", "\ud800", "\x1b[31m", "s3://",
    "a" * 5000, "org/tiny", "longest_first", "results/{name}",
]  # fmt: skip
PIECES = [
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\t", b"\r", b":", b"- ", b"&a ", b"*a", b"<<: ", b"{", b"]", b'"', b"'", b"|",
    b"!!int ", b"!!python/object:os.system ", b"9" * 5000, b"1e999", b"~nobody/", b"\\ud800", b"\xc2\x85", b"? ",
    b"---\n", b"%YAML 9\n", b"[" * 2000,
]  # fmt: skip
BYTES = st.sampled_from(PIECES) | st.binary(max_size=8)


@st.composite
def changed(draw: st.DrawFn, sources: list[bytes]) -> bytes:
    """A valid file with a few random changes."""
    data = draw(st.sampled_from(sources))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(BYTES) + data[at + draw(st.integers(0, 20)) :]
    return data


def nested(scalars: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
    )


def one_line_each(error: Exception) -> None:
    message = str(error)
    assert all(line.isprintable() for line in message.split("\n"))
    assert len(message) < 100_000


def load(path: Path) -> None:
    try:
        grid.expand(config.load(path))
    except config.SweepError as error:
        one_line_each(error)


@ANY
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_a_sweep_or_one_error(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(data)
    load(tmp_path / "s.yaml")


@ANY
@given(data=changed(VALID))
def test_a_changed_sweep_gives_a_sweep_or_one_error(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(data)
    load(tmp_path / "s.yaml")


@ANY
@given(
    changes=st.dictionaries(
        st.sampled_from(KEYS), nested(st.sampled_from(VALUES) | st.text(max_size=5), st.sampled_from(KEYS)), max_size=4
    )
)
def test_any_keys_and_values_give_a_sweep_or_one_error(changes: dict[str, Any], tmp_path: Path) -> None:
    base = {"name": "x", "models": ["org/tiny"], "precisions": ["fp32"]}
    try:
        grid.expand(config.from_mapping(base | changes, folder=tmp_path))
    except config.SweepError as error:
        one_line_each(error)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("parquet") / "a.parquet"
    pq.write_table(pa.table({"text": ["one", "two", None], "id": [1, 2, 3]}), file)
    return file.read_bytes()


JSONL = [b'{"text": "one"}\n{"text": "two", "id": 3}\n', json.dumps({"text": "\ud83d"}).encode(), b"[" * 100_000]


@ANY
@given(
    data=st.binary(max_size=60) | changed(JSONL),
    ending=st.sampled_from([".txt", ".jsonl", ".parquet"]),
    column=st.sampled_from(["text", "id", "", "a\0"]),
)
def test_any_file_gives_texts_or_one_error(data: bytes, ending: str, column: str, tmp_path: Path) -> None:
    read_texts(tmp_path / f"a{ending}", data, column)


@ANY
@given(data=st.data())
def test_a_changed_parquet_file_gives_texts_or_one_error(data: st.DataObject, parquet: bytes, tmp_path: Path) -> None:
    read_texts(tmp_path / "a.parquet", data.draw(changed([parquet])), "text")


def read_texts(path: Path, data: bytes, column: str) -> None:
    path.write_bytes(data)
    try:
        texts.sha256(texts.read(path, column))
        texts.read_whole(path, column)
    except texts.TextsError as error:
        one_line_each(error)

from pathlib import Path

import pytest

from workers.records import ProcessFailure
from workers.redact import redact, redacted

SECRET = 'sentinel/5ecret+"quoted"'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"401 for {SECRET}, sorry", "401 for [redacted], sorry"),
        ("s3://KEY:aB/c+d=@bucket/x?region=eu", "s3://[redacted]@bucket/x?region=eu"),
        ("https://user:pass@host/x failed", "https://[redacted]@host/x failed"),
        ("{'Authorization': 'Bearer abcdefgh.ijkl'}", "{'Authorization': 'Bearer [redacted]'}"),
        ("GET /x?X-Amz-Signature=0123abc&n=1", "GET /x?X-Amz-Signature=[redacted]&n=1"),
        ("token hf_abcdefghijklmnopqrstu is expired", "token [redacted] is expired"),
    ],
)
def test_a_secret_is_hidden(said: str, shown: str) -> None:
    assert redact(said) == shown


@pytest.mark.parametrize(
    "said",
    ["https://host:8080/x and git@github.com", "max_new_tokens=8, pad_token_id=0", "Bearer of news", "s3://bucket/a@b"],
)
def test_what_is_no_secret_stays(said: str) -> None:
    assert redact(said) == said


def test_a_variable_that_names_a_file_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    assert redact(f"cannot read {tmp_path}") == f"cannot read {tmp_path}"


def test_a_short_value_does_not_blot_out_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "on")
    assert redact("on and on") == "on and on"


def test_a_records_texts_are_redacted_and_nothing_else_is() -> None:
    failure = ProcessFailure(
        cell_id="c", repeat=0, status="failed", error_type="E", error_message=f"a {SECRET}", traceback=f"{SECRET}\nb"
    )
    hidden = redacted(failure)
    assert (hidden.error_message, hidden.traceback) == ("a [redacted]", "[redacted]\nb")
    assert hidden.model_copy(update={"error_message": failure.error_message, "traceback": failure.traceback}) == failure
    assert redacted(hidden) is hidden

from pathlib import Path

import pytest

from workers.records import ProcessFailure
from workers.records.redact import redact, redacted

SECRET = 'sentinel/5ecret+"quoted"'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"401 for {SECRET}, sorry", "401 for [redacted], sorry"),
        ("s3://KEY:aB/c+d=@bucket/x?region=eu", "s3://[redacted]@bucket/x?region=eu"),
        ("https://user:pass@host/x failed", "https://[redacted]@host/x failed"),
        ("{'Authorization': 'Bearer abcdefgh.ijkl'}", "{'Authorization': 'Bearer [redacted]'}"),
        ("GET /x?X-Amz-Signature=0123abc&n=1", "GET /x?X-Amz-Signature=[redacted]&n=1"),
        ("token hf_abcdefghijklmnopqrstu is expired", "token [redacted] is expired"),
    ],
)
def test_a_secret_is_hidden(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    ["https://host:8080/x and git@github.com", "max_new_tokens=8, pad_token_id=0", "Bearer of news", "s3://bucket/a@b"],
)
def test_text_without_a_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_a_variable_that_names_a_file_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    assert redact(f"cannot read {tmp_path}") == f"cannot read {tmp_path}"


def test_a_short_value_does_not_remove_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "on")
    assert redact("on and on") == "on and on"


def test_only_the_texts_of_a_record_are_redacted() -> None:
    failure = ProcessFailure(
        cell_id="c", repeat=0, status="failed", error_type="E", error_message=f"a {SECRET}", traceback=f"{SECRET}\nb"
    )
    hidden = redacted(failure)
    assert (hidden.error_message, hidden.traceback) == ("a [redacted]", "[redacted]\nb")
    assert hidden.model_copy(update={"error_message": failure.error_message, "traceback": failure.traceback}) == failure
    assert redacted(hidden) is hidden

"""Secrets out of whatever is kept or shown: exceptions quote tokens, URLs carry credentials.

Two nets. What the environment of this process calls a token, secret or password is known by its value, wherever it
turns up; what other processes know is known by its shape (`hf_...`, `Bearer ...`, `s3://KEY:SECRET@bucket`).
"""

import json
import os
import re
from typing import Any, TypeVar

from workers.records import Record
from workers.records.text import shortened

HIDDEN = "[redacted]"

_NAMES = re.compile(
    r"TOKEN|SECRET|PASSW(OR)?D|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|ACCOUNT_?KEY", re.IGNORECASE
)
"""Environment variables that hold secrets, by their names."""

_SHORTEST = 8
"""A shorter value would blot out ordinary words; nobody's token is that short."""

_SHAPES = (
    (re.compile(r"://[^/\s@'\"]+@"), f"://{HIDDEN}@"),  # userinfo of a URL
    (re.compile(r"://[^/\s@:'\"]+:[^\s@'\"]+@"), f"://{HIDDEN}@"),  # the same where the password holds a bare `/`
    (re.compile(r"([Bb]earer|[Bb]asic) +[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"([Ss]ignature|[Ss]ecurity-[Tt]oken|[?&](?:sig|token|access_token|api_key))=[^&\s'\"]+"),
     rf"\1={HIDDEN}"),
    (re.compile(r"(?:hf|gh[pousr])_[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}"), HIDDEN),
)  # fmt: skip
"""What a secret looks like when it is not this process's own."""

_LONGEST = 1_000_000
"""Characters that are searched: nobody reads more, and some shapes cost the square of the length."""

AnyRecord = TypeVar("AnyRecord", bound=Record)


def redact(text: str) -> str:
    """`text` without secrets; of more than a megabyte, its beginning and its end."""
    text = shortened(text, _LONGEST)
    for secret in _own_secrets():
        text = text.replace(secret, HIDDEN)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def redacted(record: AnyRecord) -> AnyRecord:
    """The record with every text in it redacted; the same object where there is nothing to hide."""
    whole = record.model_dump_json()
    if redact(whole) == whole and not any(json.dumps(secret)[1:-1] in whole for secret in _own_secrets()):
        return record
    return type(record).model_validate(_walk(record.model_dump()))


def _walk(value: Any) -> Any:
    """Every text below `value` redacted; the names of fields are ours and stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _walk(one) for key, one in value.items()}
    return tuple(_walk(one) for one in value) if isinstance(value, tuple | list) else value


def _own_secrets() -> list[str]:
    """Values of this process's secret variables, longest first; one that names a file is no secret."""
    found = {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _SHORTEST}
    return sorted((value for value in found if not os.path.exists(value)), key=len, reverse=True)  # noqa: PTH110 - text

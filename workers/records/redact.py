"""Remove secrets from everything that is stored or printed: exceptions quote tokens, URLs carry credentials.

Two rules. A value that this process's environment names a token, secret or password is removed wherever it occurs.
Secrets of other processes are recognised by their pattern (`hf_...`, `Bearer ...`, `s3://KEY:SECRET@bucket`).
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
"""Names of environment variables that hold secrets."""

_SHORTEST = 8
"""Shorter values are kept: they would remove ordinary words, and no token is that short."""

_PATTERNS = (
    (re.compile(r"://[^/\s@'\"]+@"), f"://{HIDDEN}@"),  # userinfo of a URL
    (re.compile(r"://[^/\s@:'\"]+:[^\s@'\"]+@"), f"://{HIDDEN}@"),  # the same with a `/` in the password
    (re.compile(r"([Bb]earer|[Bb]asic) +[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"([Ss]ignature|[Ss]ecurity-[Tt]oken|[?&](?:sig|token|access_token|api_key))=[^&\s'\"]+"),
     rf"\1={HIDDEN}"),
    (re.compile(r"(?:hf|gh[pousr])_[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}"), HIDDEN),
)  # fmt: skip
"""Patterns of secrets, and their replacements."""

_LONGEST = 1_000_000
"""Characters to search at most: the time of some patterns grows with the square of the length."""

AnyRecord = TypeVar("AnyRecord", bound=Record)


def redact(text: str) -> str:
    """`text` without secrets; a text of more than a megabyte is cut to its beginning and end."""
    text = shortened(text, _LONGEST)
    for secret in _own_secrets():
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redacted(record: AnyRecord) -> AnyRecord:
    """The record with every text in it redacted; the same object if it holds no secret."""
    json_text = record.model_dump_json()
    if redact(json_text) == json_text and not any(json.dumps(secret)[1:-1] in json_text for secret in _own_secrets()):
        return record
    return type(record).model_validate(_redact_values(record.model_dump()))


def _redact_values(value: Any) -> Any:
    """`value` with every text in it redacted; dictionary keys are field names and stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact_values(item) for key, item in value.items()}
    return tuple(_redact_values(item) for item in value) if isinstance(value, tuple | list) else value


def _own_secrets() -> list[str]:
    """Values of this process's secret variables, longest first; a value that is the path of a file is no secret."""
    values = {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _SHORTEST}
    return sorted((v for v in values if not os.path.exists(v)), key=len, reverse=True)  # noqa: PTH110 - text

"""Path or mapping -> SweepConfig: read, check, and resolve what the file points to."""

import datetime as dt
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.config import texts
from orchestrator.config.explain import problems
from orchestrator.config.fingerprint import fingerprint
from orchestrator.config.problems import Origin, Problem, SweepError, cut, did_you_mean, format_value
from orchestrator.config.problems import Path as Place
from orchestrator.config.sweep_file import ModelEntry, SweepConfig, SweepFile
from orchestrator.config.transformers_names import unknown_type
from orchestrator.config.yaml_reader import read
from workers.records import ModelSpec, Quality, TextPrompts, digest

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

_MAX_BYTES = 1_000_000
"""Size limit of a sweep file. Unit: bytes."""

_UNUSABLE = re.compile("[\\x00\ud800-\udfff]")
"""Characters that no file name, model name or Parquet file can contain."""

_LARGEST = 2**63 - 1

_LONGEST_NAME = 255
"""Length limit of a file name on common file systems. Unit: bytes."""

DATE = "JOULEGRID_DATE"
"""Environment variable with the date for `{date}` in `out`, such as 2026-01-31; by default, today's date."""


def load(path: Path, *, today: dt.date | None = None) -> SweepConfig:
    """Read a sweep file and everything that it points to. Its relative paths start at the file's own folder.

    Raises:
        SweepError: the file, or a file or folder that it names, is invalid or cannot be read; lists every problem.
    """
    file = cut(str(path), 1000)
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SweepError([Problem((), f"is not UTF-8 text (byte {error.start})")], Origin(file)) from error
    except (OSError, ValueError) as error:
        message = f"cannot be read: {getattr(error, 'strerror', None) or error}{_nearest(path)}"
        raise SweepError([Problem((), message)], Origin(file)) from error
    if len(raw) > _MAX_BYTES:
        raise SweepError([Problem((), f"has more than {_MAX_BYTES:,} bytes, the limit of a sweep file")], Origin(file))
    data, origin = read(text, file)
    return _checked(data, origin, path.parent, today)


def from_mapping(data: Mapping[str, Any], *, folder: Path = Path(), today: dt.date | None = None) -> SweepConfig:
    """A sweep from a mapping with the keys of a sweep file. Its relative paths start at `folder`.

    Raises:
        SweepError: as `load`.
    """
    return _checked(dict(data), Origin(), folder, today)


def _checked(data: Any, origin: Origin, folder: Path, today: dt.date | None) -> SweepConfig:
    if not isinstance(data, dict):
        problem = "is empty" if data is None else "is not a mapping of keys to values"
        raise SweepError([Problem((), f"{problem}; a sweep needs `name`, `models` and `precisions`")], origin)
    try:
        plain = json.dumps(data, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SweepError([Problem((), f"contains a value that a YAML file cannot: {error}")], origin) from error
    if unusable := list(_unusable(data, ())):
        raise SweepError(unusable, origin)
    try:
        sweep = SweepFile.model_validate_json(plain, strict=True)
    except ValidationError as error:
        raise SweepError(problems(error, data, _schema()), origin) from error
    return _Resolver(sweep, origin, folder).resolved(today)


@cache
def _schema() -> dict[str, Any]:
    return SweepFile.model_json_schema()


def _unusable(value: Any, place: Place) -> Iterator[Problem]:
    """Problems of text and numbers that are valid JSON, but that no name and no column can contain."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _unusable(str(key), (*place, str(key)))
            yield from _unusable(inner, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _unusable(inner, (*place, index))
    elif isinstance(value, str) and (match := _UNUSABLE.search(value)):
        yield Problem(
            place, f"{format_value(value)} contains the character {match[0]!r}, which cannot be stored; remove it"
        )
    elif isinstance(value, int) and abs(value) > _LARGEST:
        yield Problem(place, f"{format_value(value)} is out of range: a number has at most 64 bits")


class _Resolver:
    """Reads what a sweep points to, and collects every problem before it raises."""

    def __init__(self, sweep: SweepFile, origin: Origin, folder: Path) -> None:
        self.sweep, self.origin, self.folder = sweep, origin, folder
        self.problems: list[Problem] = []

    def resolved(self, today: dt.date | None) -> SweepConfig:
        sweep = self.sweep
        date = today or self.date()
        out = self.out(date)
        specs = self.models()
        prompts, prompt_texts = self.prompts()
        quality, quality_text = self.quality()
        if self.problems:
            raise SweepError(self.problems, self.origin)
        unhashed = {"out", "engine"} if sweep.engine == "transformers" else {"out"}
        pieces = [sweep.model_dump(mode="json", exclude=unhashed)]  # older sweeps had no `engine`
        pieces += [part.model_dump(mode="json") for part in (*specs, prompts, quality) if part is not None]
        return SweepConfig(
            **{name: getattr(sweep, name) for name in SweepFile.model_fields if name != "out"},
            out=out,
            out_date=date if "{date}" in sweep.out else None,
            specs=specs,
            text_prompts=prompts,
            prompt_texts=prompt_texts,
            quality_spec=quality,
            quality_text=quality_text,
            sweep_hash=digest(pieces),
            origin=self.origin,
        )

    def date(self) -> dt.date:
        today, date = dt.datetime.now().astimezone().date(), os.environ.get(DATE)
        if not date or "{date}" not in self.sweep.out:
            return today
        try:
            return dt.datetime.strptime(date, "%Y-%m-%d").date()  # noqa: DTZ007 - a date has no zone
        except ValueError:
            self.problems.append(Problem(("out",), f"{DATE}={date!r:.60} is not a date; write it as {today}"))
            return today

    def out(self, date: dt.date) -> str:
        out = self.sweep.out.format(name=self.sweep.name, date=date.isoformat())
        if reason := _cannot_hold_results(out):
            self.problems.append(Problem(("out",), f"{format_value(out)} {reason}"))
        return out

    def models(self) -> tuple[ModelSpec, ...]:
        specs = [self.model(entry, index) for index, entry in enumerate(self.sweep.models)]
        first: dict[str, int] = {}
        for index, spec in enumerate(specs):
            if spec.name in first:
                used = f"the name {spec.name!r} is already used by models[{first[spec.name]}]"
                self.problems.append(Problem(("models", index), f"{used}; give one of them another `name`"))
            first.setdefault(spec.name, index)
        for place, member in self.members():
            if "model" in member and member["model"] not in first:
                message = f"{member['model']!r} is not a model of this sweep{did_you_mean(member['model'], first)}"
                self.problems.append(Problem((*place, "model"), message))
        return tuple(specs)

    def members(self) -> list[tuple[tuple[str | int, ...], dict[str, Any]]]:
        return [(("groups", group, place), member)
                for group, members in enumerate(self.sweep.groups) for place, member in enumerate(members)]  # fmt: skip

    def model(self, entry: ModelEntry, index: int) -> ModelSpec:
        common = {"revision": entry.revision, "trust_remote_code": entry.trust_remote_code}
        if entry.config is not None:
            return ModelSpec(name=entry.name or str(entry.config["model_type"]), config=entry.config, **common)
        source = str(entry.source)
        place = ("models", index, "source") if ("models", index, "source") in self.origin.lines else ("models", index)
        try:
            folder = (self.folder / Path(source).expanduser()).resolve()
            if folder.is_dir():
                if entry.revision is not None:
                    message = f"the folder {format_value(source)} has no revisions; remove `revision`"
                    self.problems.append(Problem(("models", index, "revision"), message))
                known = {"source": str(folder), "fingerprint": fingerprint(folder)}
                if unknown := _unknown_type(folder, entry):
                    self.problems.append(Problem(place, f"{format_value(source)}: {unknown}"))
                return ModelSpec(name=entry.name or folder.name, **known, **common)
        except (OSError, ValueError, RuntimeError) as error:  # no permission, no config.json, or an unknown user's home
            reason = getattr(error, "strerror", None) or error
            self.problems.append(Problem(place, f"{format_value(source)} cannot be read: {reason}"))
            return ModelSpec(name=entry.name or source, source=source, **common)
        if not _HUB_ID.fullmatch(source) or source.startswith("."):
            problem = "is a file, not a model folder" if folder.is_file() else "is neither a folder nor a hub id"
            looked_for = cut(str(self.folder / source), 200)
            self.problems.append(Problem(place, f"{format_value(source)} {problem} (looked for {looked_for})"))
        return ModelSpec(name=entry.name or source, source=source, **common)

    def prompts(self) -> tuple[TextPrompts | None, tuple[str, ...]]:
        prompts = self.sweep.prompts
        if prompts.file is None:
            return None, ()
        try:
            prompt_texts = texts.read(self.folder / prompts.file, prompts.column)
        except texts.TextsError as error:
            self.problems.append(Problem(("prompts", "file"), f"{error}{_nearest(self.folder / prompts.file)}"))
            return None, ()
        return TextPrompts(sha256=texts.sha256(prompt_texts), file=prompts.file), prompt_texts

    def quality(self) -> tuple[Quality | None, str | None]:
        quality = self.sweep.quality
        if quality is None:
            return None, None
        try:
            text = texts.read_whole(self.folder / quality.text, quality.column)
        except texts.TextsError as error:
            self.problems.append(Problem(("quality", "text"), f"{error}{_nearest(self.folder / quality.text)}"))
            return None, None
        sizes = quality.model_dump(include={"context_tokens", "stride_tokens", "max_tokens"})
        return Quality(sha256=texts.sha256(text), file=quality.text, **sizes), text


def _unknown_type(folder: Path, entry: ModelEntry) -> str | None:
    fields = json.loads((folder / "config.json").read_bytes())
    return unknown_type(fields, trusted=entry.trust_remote_code) if isinstance(fields, dict) else None


def _cannot_hold_results(out: str) -> str | None:
    """Why no results can be written to `out`, whatever its disk or bucket; null where they may be."""
    scheme, url, rest = out.partition("://")
    if url:
        return "has no bucket name" if scheme != "file" and rest[:1] in ("", "/", "?") else None
    longest = max(len(part.encode()) for part in out.split("/"))
    if longest > _LONGEST_NAME:
        return f"has a part of {longest} bytes; a file name has at most {_LONGEST_NAME}"
    try:
        Path(out).expanduser()
    except RuntimeError:
        return "starts in the home folder of a user who does not exist on this machine"
    return None


def _nearest(path: Path) -> str:
    """A hint that names the most similar file beside `path`; empty where `path` exists or nothing is similar."""
    try:
        if path.exists() or not path.parent.is_dir():
            return ""
        return did_you_mean(path.name, [file.name for file in path.parent.iterdir()])
    except (OSError, ValueError):  # an invalid file name, or a folder without read permission
        return ""

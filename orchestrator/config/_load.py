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

from orchestrator import texts
from orchestrator.config._explain import problems
from orchestrator.config._fingerprint import fingerprint
from orchestrator.config._problems import Origin, Problem, SweepError, cut, did_you_mean, shown
from orchestrator.config._problems import Path as Place
from orchestrator.config._sweep import ModelEntry, SweepConfig, SweepFile, unknown_type
from orchestrator.config._yaml import read
from workers.records import ModelSpec, Quality, TextPrompts, digest

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

_MAX_BYTES = 1_000_000
"""A sweep file at most: larger ones are some other file, and take long to read. Unit: bytes."""

_UNUSABLE = re.compile("[\\x00\ud800-\udfff]")
"""Characters that no file's name, no model and no Parquet file can hold."""

_LARGEST = 2**63 - 1

_LONGEST_NAME = 255
"""A file's name on any of the usual file systems. Unit: bytes."""

DATE = "JOULEGRID_DATE"
"""Environment variable with the date that `{date}` in `out` stands for, as 2026-01-31; without it, today's."""


def load(path: Path, *, today: dt.date | None = None) -> SweepConfig:
    """Read a sweep file and everything that it points to. Relative paths in it begin at the file's own folder.

    Raises:
        SweepError: the file, or a file or folder it names, cannot be read or is wrong; says all that is wrong at once.
    """
    file = cut(str(path), 1000)
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SweepError([Problem((), f"is not UTF-8 text (byte {error.start})")], Origin(file)) from error
    except (OSError, ValueError) as error:
        said = f"cannot be read: {getattr(error, 'strerror', None) or error}{_nearest(path)}"
        raise SweepError([Problem((), said)], Origin(file)) from error
    if len(raw) > _MAX_BYTES:
        raise SweepError([Problem((), f"has more than {_MAX_BYTES:,} bytes, so it is no sweep")], Origin(file))
    data, origin = read(text, file)
    return _checked(data, origin, path.parent, today)


def from_mapping(data: Mapping[str, Any], *, folder: Path = Path(), today: dt.date | None = None) -> SweepConfig:
    """A sweep from the same keys as the file's, for Python. Relative paths begin at `folder`.

    Raises:
        SweepError: as `load`.
    """
    return _checked(dict(data), Origin(), folder, today)


def _checked(data: Any, origin: Origin, folder: Path, today: dt.date | None) -> SweepConfig:
    if not isinstance(data, dict):
        said = "is empty" if data is None else "is not a mapping of keys to values"
        raise SweepError([Problem((), f"{said}; a sweep needs `name`, `models` and `precisions`")], origin)
    try:
        plain = json.dumps(data, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SweepError([Problem((), f"holds what a YAML file could not: {error}")], origin) from error
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
    """Text and numbers that are fine as JSON, but that nothing that they may be meant for can take."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _unusable(str(key), (*place, str(key)))
            yield from _unusable(inner, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _unusable(inner, (*place, index))
    elif isinstance(value, str) and (found := _UNUSABLE.search(value)):
        yield Problem(place, f"{shown(value)} holds the character {found[0]!r}, which no name can have")
    elif isinstance(value, int) and abs(value) > _LARGEST:
        yield Problem(place, f"{shown(value)} is larger than any number here can be")


class _Resolver:
    """Reads what a sweep points to, and keeps what is wrong until all of it was looked at."""

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
        pieces = [sweep.model_dump(mode="json", exclude={"out"})]
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
        today, said = dt.datetime.now().astimezone().date(), os.environ.get(DATE)
        if not said or "{date}" not in self.sweep.out:
            return today
        try:
            return dt.datetime.strptime(said, "%Y-%m-%d").date()  # noqa: DTZ007 - a date has no zone
        except ValueError:
            self.problems.append(Problem(("out",), f"{DATE}={said!r:.60} is not a date, as {today}"))
            return today

    def out(self, date: dt.date) -> str:
        out = self.sweep.out.format(name=self.sweep.name, date=date.isoformat())
        if reason := _no_place(out):
            self.problems.append(Problem(("out",), f"{shown(out)} {reason}"))
        return out

    def models(self) -> tuple[ModelSpec, ...]:
        specs = [self.model(entry, index) for index, entry in enumerate(self.sweep.models)]
        first: dict[str, int] = {}
        for index, spec in enumerate(specs):
            if spec.name in first:
                said = (
                    f"the name {spec.name!r} is models[{first[spec.name]}]'s already; give one of them another `name`"
                )
                self.problems.append(Problem(("models", index), said))
            first.setdefault(spec.name, index)
        for place, member in self.members():
            if "model" in member and member["model"] not in first:
                said = f"{member['model']!r} is no model of this sweep{did_you_mean(member['model'], first)}"
                self.problems.append(Problem((*place, "model"), said))
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
                    said = f"the folder {shown(source)} has no revisions"
                    self.problems.append(Problem(("models", index, "revision"), said))
                known = {"source": str(folder), "fingerprint": fingerprint(folder)}
                if unknown := _unknown_type(folder, entry):
                    self.problems.append(Problem(place, f"{shown(source)}: {unknown}"))
                return ModelSpec(name=entry.name or folder.name, **known, **common)
        except (OSError, ValueError, RuntimeError) as error:  # no permission, no config.json, no such user's home
            reason = getattr(error, "strerror", None) or error
            self.problems.append(Problem(place, f"{shown(source)} cannot be read: {reason}"))
            return ModelSpec(name=entry.name or source, source=source, **common)
        if not _HUB_ID.fullmatch(source) or source.startswith("."):
            kind = "is a file, not a model's folder" if folder.is_file() else "is no folder, and no hub id either"
            looked_for = cut(str(self.folder / source), 200)
            self.problems.append(Problem(place, f"{shown(source)} {kind} (looked for {looked_for})"))
        return ModelSpec(name=entry.name or source, source=source, **common)

    def prompts(self) -> tuple[TextPrompts | None, tuple[str, ...]]:
        wanted = self.sweep.prompts
        if wanted.file is None:
            return None, ()
        try:
            found = texts.read(self.folder / wanted.file, wanted.column)
        except texts.TextsError as error:
            self.problems.append(Problem(("prompts", "file"), f"{error}{_nearest(self.folder / wanted.file)}"))
            return None, ()
        return TextPrompts(sha256=texts.sha256(found), file=wanted.file), found

    def quality(self) -> tuple[Quality | None, str | None]:
        wanted = self.sweep.quality
        if wanted is None:
            return None, None
        try:
            text = texts.read_whole(self.folder / wanted.text, wanted.column)
        except texts.TextsError as error:
            self.problems.append(Problem(("quality", "text"), f"{error}{_nearest(self.folder / wanted.text)}"))
            return None, None
        sizes = wanted.model_dump(include={"context_tokens", "stride_tokens", "max_tokens"})
        return Quality(sha256=texts.sha256(text), file=wanted.text, **sizes), text


def _unknown_type(folder: Path, entry: ModelEntry) -> str | None:
    fields = json.loads((folder / "config.json").read_bytes())
    return unknown_type(fields, trusted=entry.trust_remote_code) if isinstance(fields, dict) else None


def _no_place(out: str) -> str | None:
    """Why nothing can be kept at `out`, whatever its disk or bucket says; null where it may be."""
    scheme, url, rest = out.partition("://")
    if url:
        return "names no bucket" if scheme != "file" and rest[:1] in ("", "/", "?") else None
    longest = max(len(part.encode()) for part in out.split("/"))
    if longest > _LONGEST_NAME:
        return f"has a part of {longest} bytes, of {_LONGEST_NAME} that a file's name may have"
    try:
        Path(out).expanduser()
    except RuntimeError:
        return "begins in the home of a user that there is not here"
    return None


def _nearest(path: Path) -> str:
    """The file that may have been meant, where there is none of that name."""
    try:
        if path.exists() or not path.parent.is_dir():
            return ""
        return did_you_mean(path.name, [file.name for file in path.parent.iterdir()])
    except (OSError, ValueError):  # a name that no file can have, a folder that is not ours to read
        return ""

"""Path or mapping -> SweepConfig: read, check, and resolve what the file points to."""

import datetime as dt
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator import texts
from orchestrator.config._explain import problems
from orchestrator.config._fingerprint import fingerprint
from orchestrator.config._problems import Origin, Problem, SweepError, did_you_mean
from orchestrator.config._sweep import ModelEntry, SweepConfig, SweepFile
from orchestrator.config._yaml import read
from workers.records import ModelSpec, Quality, TextPrompts, digest

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

DATE = "JOULEGRID_DATE"
"""Environment variable with the date that `{date}` in `out` stands for, as 2026-01-31; without it, today's."""


def load(path: Path, *, today: dt.date | None = None) -> SweepConfig:
    """Read a sweep file and everything that it points to. Relative paths in it begin at the file's own folder.

    Raises:
        SweepError: the file, or a file or folder it names, cannot be read or is wrong; says all that is wrong at once.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SweepError(
            [Problem((), f"cannot be read: {error.strerror}{_nearest(path)}")], Origin(str(path))
        ) from error
    except UnicodeDecodeError as error:
        raise SweepError([Problem((), f"is not UTF-8 text (byte {error.start})")], Origin(str(path))) from error
    data, origin = read(text, str(path))
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
    try:
        sweep = SweepFile.model_validate_json(plain, strict=True)
    except ValidationError as error:
        raise SweepError(problems(error, data, SweepFile.model_json_schema()), origin) from error
    return _Resolver(sweep, origin, folder).resolved(today)


class _Resolver:
    """Reads what a sweep points to, and keeps what is wrong until all of it was looked at."""

    def __init__(self, sweep: SweepFile, origin: Origin, folder: Path) -> None:
        self.sweep, self.origin, self.folder = sweep, origin, folder
        self.problems: list[Problem] = []

    def resolved(self, today: dt.date | None) -> SweepConfig:
        sweep = self.sweep
        date = today or self.date()
        specs = self.models()
        prompts, prompt_texts = self.prompts()
        quality, quality_text = self.quality()
        if self.problems:
            raise SweepError(self.problems, self.origin)
        pieces = [sweep.model_dump(mode="json", exclude={"out"})]
        pieces += [part.model_dump(mode="json") for part in (*specs, prompts, quality) if part is not None]
        return SweepConfig(
            **{name: getattr(sweep, name) for name in SweepFile.model_fields if name != "out"},
            out=sweep.out.format(name=sweep.name, date=date.isoformat()),
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
                    said = f"the folder {source!r} has no revisions"
                    self.problems.append(Problem(("models", index, "revision"), said))
                known = {"source": str(folder), "fingerprint": fingerprint(folder)}
                return ModelSpec(name=entry.name or folder.name, **known, **common)
        except (OSError, ValueError, RuntimeError) as error:  # no permission, no config.json, no such user's home
            self.problems.append(Problem(place, f"{source!r} cannot be read: {error}"))
            return ModelSpec(name=entry.name or source, source=source, **common)
        if not _HUB_ID.fullmatch(source) or source.startswith("."):
            kind = "is a file, not a model's folder" if folder.is_file() else "is no folder, and no hub id either"
            self.problems.append(Problem(place, f"{source!r} {kind} (looked for {self.folder / source})"))
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


def _nearest(path: Path) -> str:
    """The file that may have been meant, where there is none of that name."""
    if path.exists() or not path.parent.is_dir():
        return ""
    return did_you_mean(path.name, [file.name for file in path.parent.iterdir()])

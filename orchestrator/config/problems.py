"""The problems of a sweep file: the place, the reason and the nearest valid word of each."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from workers.records.errors import JouleGridError

Path = tuple[str | int, ...]
"""Where in the file: keys and 0-based list positions from the top."""

MAX_LISTED = 50
"""Problems that an error lists; it counts the others."""


@dataclass(frozen=True)
class Problem:
    """One problem and its place."""

    path: Path
    message: str
    line: int | None = None
    """1-based line, where it is more exact than the path's."""


@dataclass(frozen=True)
class Origin:
    """The file that a sweep came from, with the line of each key and item."""

    file: str = "sweep"
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int | None:
        """The 1-based line of `path`, or of the innermost part around it that has one."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)


class SweepError(JouleGridError):
    """A sweep that cannot run. The message has the file, and a line for each problem."""

    def __init__(self, problems: Iterable[Problem], origin: Origin) -> None:
        self.problems = tuple(sorted(problems, key=lambda one: one.line or origin.line_of(one.path) or 0))
        listed = [_sentence(problem, origin) for problem in self.problems[:MAX_LISTED]]
        rest = [f"... and {len(self.problems) - MAX_LISTED} more"] if len(self.problems) > MAX_LISTED else []
        file = _printable(origin.file)
        many = f"{file}: {len(self.problems)} errors\n" + "\n".join(f"  {line}" for line in listed + rest)
        super().__init__(f"{file}: {listed[0]}" if len(listed) == 1 else many)


def _sentence(problem: Problem, origin: Origin) -> str:
    line = problem.line or origin.line_of(problem.path)
    parts = [f"line {line}" if line else "", dotted(problem.path), problem.message]
    return _printable(": ".join(part for part in parts if part))


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def dotted(path: Path) -> str:
    """`("groups", 0, 1, "model")` as `groups[0][1].model`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path)
    return text.removeprefix(".")


def format_value(value: object) -> str:
    """A value on one line as YAML writes it, cut to 60 characters."""
    plain = {True: "true", False: "false", None: "null"}
    return cut(plain[value] if value is None or isinstance(value, bool) else repr(value))


def cut(text: str, length: int = 60) -> str:
    """A text cut to `length` characters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _key(key: str) -> str:
    """A key as written; quoted and cut where it is long or not printable."""
    return key if key.isprintable() and len(key) <= 60 else format_value(key)


def nearest(word: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The most similar known word; null where none is similar enough."""
    names = {name.lower(): name for name in known}
    near = get_close_matches(str(word).lower(), names, n=1, cutoff=cutoff)
    return names[near[0]] if near else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean 'batch_size'?`, or empty where no known word is similar."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""

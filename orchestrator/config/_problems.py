"""What is wrong with a sweep file, said so that it can be mended: where, what, and the nearest right thing."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

Path = tuple[str | int, ...]
"""Where in the file: keys and 0-based list positions from the top."""

MOST = 50
"""Problems of a sweep that are said; whoever has more of them has one in common."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    path: Path
    message: str
    line: int | None = None
    """1-based line, where it is known better than from the path."""


@dataclass(frozen=True)
class Origin:
    """The file that a sweep came from, with the line of each key and item."""

    file: str = "sweep"
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int | None:
        """The 1-based line of `path`, or of the nearest thing around it that has one."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)


class SweepError(Exception):
    """A sweep that cannot be run. Its text is all that the user needs: the file, and a line for each wrong thing."""

    def __init__(self, problems: Iterable[Problem], origin: Origin) -> None:
        self.problems = tuple(sorted(problems, key=lambda one: one.line or origin.line_of(one.path) or 0))
        said = [_sentence(problem, origin) for problem in self.problems[:MOST]]
        rest = [f"... and {len(self.problems) - MOST} more"] if len(self.problems) > MOST else []
        file = _printable(origin.file)
        many = f"{file}: {len(self.problems)} errors\n" + "\n".join(f"  {line}" for line in said + rest)
        super().__init__(f"{file}: {said[0]}" if len(said) == 1 else many)


def _sentence(problem: Problem, origin: Origin) -> str:
    line = problem.line or origin.line_of(problem.path)
    parts = [f"line {line}" if line else "", dotted(problem.path), problem.message]
    return _printable(": ".join(part for part in parts if part))


def _printable(said: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in said)


def dotted(path: Path) -> str:
    """`("groups", 0, 1, "model")` as `groups[0][1].model`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path)
    return text.removeprefix(".")


def shown(value: object) -> str:
    """A value as YAML would have it, on one line and cut where it is long."""
    plain = {True: "true", False: "false", None: "null"}
    return cut(plain[value] if value is None or isinstance(value, bool) else repr(value))


def cut(text: str, length: int = 60) -> str:
    """As much of a text as an error has room for."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _key(key: str) -> str:
    """A key as it stands, unless it is long or would not be seen."""
    return key if key.isprintable() and len(key) <= 60 else shown(key)


def nearest(word: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that was most likely meant; null where none is near."""
    names = {name.lower(): name for name in known}
    near = get_close_matches(str(word).lower(), names, n=1, cutoff=cutoff)
    return names[near[0]] if near else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean 'batch_size'?`, or nothing where no known word is near."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""

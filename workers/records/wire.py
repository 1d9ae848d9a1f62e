"""The messages between the driver and its actors. They travel as JSON and are validated on both sides.

So both sides may have different versions of pydantic, and workers never unpickle objects of the driver.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Literal

from workers.records.base import Record
from workers.records.result import ProcessFailure, RawProcessResult

_OPTIONAL = ("bitsandbytes", "torchao", "flash_attn", "flash_attn_interface")


@cache
def optional_packages() -> frozenset[str]:
    """Import names of the optional packages that are installed in this process's environment."""
    return frozenset(name for name in _OPTIONAL if find_spec(name))


Texts = Mapping[str, Sequence[str]]
"""Texts of the sweep's files, by their SHA-256."""


class Hardware(Record):
    """The hardware and packages of a process, from which `orchestrator.support` decides what it supports."""

    device: Literal["cuda", "cpu"]
    """`cuda` if there are GPUs."""
    card: str | None = None
    """The card's name, for messages."""
    compute_capability: tuple[int, int] | None = None
    """CUDA's (major, minor); null if unknown or without a GPU. Cells that depend on it are then tried."""
    packages: frozenset[str] = frozenset()
    """Import names of the optional packages that are installed: `bitsandbytes`, `torchao`, `flash_attn`..."""


class Ready(Record):
    """An actor's message that it can measure."""

    pid: int
    """Process id."""
    host: str
    """Name of the host."""
    hardware: Hardware
    """Hardware and packages of the process."""
    output_files: tuple[str, ...] = ()
    """The files on its host that its output goes to."""


class Reply(Record):
    """How a run ended on one process, and whether the process can measure another."""

    result: RawProcessResult | ProcessFailure
    """The figures, or why there are none."""
    reusable: bool
    """Whether the process can measure another run."""
    changes: tuple[str, ...] = ()
    """State of the process that the run left changed, one description each."""
    printed: str = ""
    """Output of the process during the run."""

"""What can be done for a model before a GPU's turn, in CPU processes: count its FLOPs, fetch its weights."""

import os
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

from workers.errors import MeasureError, ModelLoadError, message
from workers.flops import EstimatorProcess
from workers.records import InferenceCost, ModelSpec, Record, Shape
from workers.records.text import Message, Traceback
from workers.redact import redact

_SMALL = ("*.json", "*.txt", "*.model", "*.jinja")
"""Config, tokeniser, index of the weights: all that loading reads but the weights."""

_TWICE = ("original/*", "consolidated*")
"""The authors' own format of the same weights, which transformers does not read."""


class Prepared(Record):
    """What came of it."""

    costs: tuple[InferenceCost, ...] = ()
    """Cost of one inference of each shape, in their order; empty with `reason`."""
    reason: Message | None = None
    """Why nothing could be counted or fetched."""
    error_type: str | None = None
    """Class of the error that means the model cannot be had at all; null where measuring may still go well."""
    traceback: Traceback | None = None
    """Where it was raised."""


class Counters:
    """The processes beside the driver that count what models cost, as many as are asked at once.

    A context manager: leaving it ends them all.
    """

    def __init__(self) -> None:
        self._idle: SimpleQueue[EstimatorProcess] = SimpleQueue()
        self._all: list[EstimatorProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.end()

    def prepare(self, model: ModelSpec, load: dict[str, object], shapes: Sequence[Shape]) -> Prepared:
        """Count what one inference of each shape costs; whatever goes wrong comes back as a value. Thread-safe."""
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = self._new()
        try:
            return Prepared(costs=tuple(process.estimate(model, shapes, load=load)))
        except MeasureError as error:
            return _failed(error, fatal=isinstance(error, ModelLoadError))
        finally:
            if process.lives:
                self._idle.put(process)

    def _new(self) -> EstimatorProcess:
        self._all.append(EstimatorProcess())
        return self._all[-1]


def on_hub(model: ModelSpec) -> bool:
    """Whether the model's weights must be fetched: it is neither a folder nor made from a config."""
    return model.source is not None and model.fingerprint is None


def fetch(model: ModelSpec) -> Prepared:
    """Bring a hub model's files into this node's cache, where loading finds them without the network."""
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # beside a measurement on the same host, fetching can wait
    from huggingface_hub import snapshot_download

    assert model.source is not None
    small = (*_SMALL, "*.py") if model.trust_remote_code else _SMALL
    download = partial(snapshot_download, model.source, revision=model.revision, ignore_patterns=_TWICE)
    try:
        folder = Path(download(allow_patterns=(*small, "*.safetensors")))
        if not any(folder.glob("*.safetensors")):
            download(allow_patterns=(*small, "*.bin"))
    except Exception as error:
        said = f"{type(error).__name__}: {message(error)}"
        lacking = ModelLoadError(f"model {model.name!r}: its weights cannot be fetched: {said}")
        lacking.__cause__ = error
        return _failed(lacking, fatal=True)
    return Prepared()


def _failed(error: Exception, *, fatal: bool) -> Prepared:
    return Prepared(
        reason=redact(message(error)),
        error_type=type(error).__name__ if fatal else None,
        traceback=redact("".join(traceback.format_exception(error))),
    )

"""What can be done for a model before a GPU's turn, in CPU tasks: count its FLOPs, fetch its weights."""

import os
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from workers import flops
from workers.errors import ModelLoadError
from workers.quiet import hush
from workers.records import InferenceCost, ModelSpec, Record, Shape
from workers.redact import redacted

_libraries: list[flops.Library] = []
"""calflops' process, and those before it that died."""

_SMALL = ("*.json", "*.txt", "*.model", "*.jinja")
"""Config, tokeniser, index of the weights: all that loading reads but the weights."""

_TWICE = ("original/*", "consolidated*")
"""The authors' own format of the same weights, which transformers does not read."""


class Prepared(Record):
    """What came of it."""

    costs: tuple[InferenceCost, ...] = ()
    """Cost of one inference of each shape, in their order; empty with `reason`."""
    reason: str | None = None
    """Why nothing could be counted or fetched."""
    error_type: str | None = None
    """Class of the error that means the model cannot be had at all; null where measuring may still go well."""
    traceback: str | None = None
    """Where it was raised."""


def prepare(model: ModelSpec, load: dict[str, object], shapes: Sequence[Shape]) -> Prepared:
    """Count what one inference of each shape costs; whatever goes wrong comes back as a value."""
    hush()
    _stand_back()
    try:
        costs = flops.estimate(model, shapes, load=load, library=_calflops())
    except Exception as error:
        return _failed(error, fatal=isinstance(error, ModelLoadError))
    return Prepared(costs=tuple(costs))


def on_hub(model: ModelSpec) -> bool:
    """Whether the model's weights must be fetched: it is neither a folder nor made from a config."""
    return model.source is not None and model.fingerprint is None


def fetch(model: ModelSpec) -> Prepared:
    """Bring a hub model's files into this node's cache, where loading finds them without the network."""
    _stand_back()
    from huggingface_hub import snapshot_download

    assert model.source is not None
    small = (*_SMALL, "*.py") if model.trust_remote_code else _SMALL
    download = partial(snapshot_download, model.source, revision=model.revision, ignore_patterns=_TWICE)
    try:
        folder = Path(download(allow_patterns=(*small, "*.safetensors")))
        if not any(folder.glob("*.safetensors")):
            download(allow_patterns=(*small, "*.bin"))
    except Exception as error:
        said = " ".join(str(error).split())
        lacking = ModelLoadError(f"model {model.name!r}: its weights cannot be fetched: {type(error).__name__}: {said}")
        lacking.__cause__ = error
        return _failed(lacking, fatal=True)
    return Prepared()


def _calflops() -> flops.Library:
    """This process's calflops, for all models that it is asked about; a new one where the last has died."""
    if not _libraries or not _libraries[-1].lives:
        _libraries.append(flops.Library())
    return _libraries[-1]


def _stand_back() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # beside a measurement on the same host, preparing can wait


def _failed(error: Exception, *, fatal: bool) -> Prepared:
    failed = Prepared(
        reason=" ".join(str(error).split()),
        error_type=type(error).__name__ if fatal else None,
        traceback="".join(traceback.format_exception(error)),
    )
    return redacted(failed)

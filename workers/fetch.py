"""Download a hub model's weights to the node that will load them, before a GPU is allocated."""

import os
from functools import partial
from pathlib import Path

from workers.records import ModelSpec, Prepared
from workers.records.errors import ModelLoadError, message

_SMALL = ("*.json", "*.txt", "*.model", "*.jinja")
"""Config, tokeniser, index of the weights: all files that loading reads, except the weights."""

_DUPLICATES = ("original/*", "consolidated*")
"""The same weights in the authors' own format, which transformers does not read."""


def on_hub(model: ModelSpec) -> bool:
    """Whether the model's weights must be downloaded: it comes neither from a folder nor from a config."""
    return model.source is not None and model.fingerprint is None


def fetch(model_json: str) -> str:
    """A task on a node: takes a `ModelSpec`, returns a `Prepared`, both as JSON (`workers.records.wire`)."""
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # a measurement on the same host has priority
    return _fetched(ModelSpec.model_validate_json(model_json)).model_dump_json()


def _fetched(model: ModelSpec) -> Prepared:
    """Download a hub model's files into this node's cache, so that loading needs no network."""
    from huggingface_hub import snapshot_download

    assert model.source is not None
    small = (*_SMALL, "*.py") if model.trust_remote_code else _SMALL
    download = partial(snapshot_download, model.source, revision=model.revision, ignore_patterns=_DUPLICATES)
    try:
        folder = Path(download(allow_patterns=(*small, "*.safetensors")))
        if not any(folder.glob("*.safetensors")):
            download(allow_patterns=(*small, "*.bin"))
    except Exception as error:
        reason = f"{type(error).__name__}: {message(error)}"
        failure = ModelLoadError(f"model {model.name!r}: cannot download its weights: {reason}")
        failure.__cause__ = error
        return Prepared.failed(failure, fatal=True)
    return Prepared()

"""Hugging Face models and precisions. Beside the FLOPs room, the only place that imports transformers."""

from workers.model.generate import Generator
from workers.model.kinds import quantiser
from workers.model.load import LoadedModel, attention_used, choose_device, load
from workers.model.metadata import precision_metadata
from workers.model.tokens import encoder, random_ids

__all__ = [
    "Generator", "LoadedModel", "attention_used", "choose_device", "encoder", "load", "precision_metadata",
    "quantiser", "random_ids",
]  # fmt: skip

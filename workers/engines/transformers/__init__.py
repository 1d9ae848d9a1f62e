"""transformers' `generate` on Hugging Face models."""

from workers.engines.transformers.generate import Generator
from workers.engines.transformers.load import LoadedModel, attention_used, choose_device, load
from workers.engines.transformers.metadata import precision_metadata
from workers.engines.transformers.tokenizer import encoder, random_ids

__all__ = [
    "Generator", "LoadedModel", "attention_used", "choose_device", "encoder", "load", "precision_metadata",
    "random_ids",
]  # fmt: skip

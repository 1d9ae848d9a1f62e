"""Text to token ids, and the token ids that random prompts exclude."""

from collections.abc import Callable
from typing import Any

from workers.engines.transformers.load import LoadedModel
from workers.records.errors import PromptError

_BYTES = 256


def random_ids(loaded: LoadedModel) -> dict[str, Any]:
    """The ids for `random_prompts`: the `vocabulary`'s size and the `special_ids` to exclude.

    Special ids have a meaning in the model's configs: begin, end, padding, image and audio placeholders.
    """
    special: set[int] = set()
    for config in (loaded.model.config, loaded.model.config.get_text_config(), loaded.model.generation_config):
        for name, value in config.to_dict().items():
            if name.endswith(("_token_id", "_token_index")):
                special.update(i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int))
    return {"vocabulary": vocabulary_size(loaded), "special_ids": special}


def vocabulary_size(loaded: LoadedModel) -> int:
    """Number of rows of the model's embedding table; the model accepts every id below it."""
    return int(loaded.model.get_input_embeddings().weight.shape[0])


def encoder(loaded: LoadedModel) -> Callable[[str], list[int]]:
    """A function from text to ids: the model's tokenizer; for a model with random weights, the bytes of the text."""
    if loaded.spec.source is None:
        size = vocabulary_size(loaded)
        if size < _BYTES:
            raise PromptError(
                f"model {loaded.spec.name!r} has no tokenizer, and its vocab_size is only {size}: "
                f"to encode texts as bytes, it must be at least {_BYTES}"
            )
        return lambda text: list(text.encode())
    tokenizer = _tokenizer(loaded)
    return lambda text: list(tokenizer(text)["input_ids"])


def _tokenizer(loaded: LoadedModel) -> Any:
    from transformers import AutoTokenizer

    spec = loaded.spec
    try:
        return AutoTokenizer.from_pretrained(
            spec.source, revision=spec.revision or "main", trust_remote_code=spec.trust_remote_code
        )
    except (OSError, ValueError, ImportError) as error:
        raise PromptError(f"model {spec.name!r} has no tokenizer that transformers can load: {error}") from error

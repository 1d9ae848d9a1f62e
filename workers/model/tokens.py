"""Text to token ids, and the ids that no random prompt should have."""

from collections.abc import Callable
from typing import Any

from workers.errors import PromptError
from workers.model.load import LoadedModel

_BYTES = 256


def random_ids(loaded: LoadedModel) -> dict[str, Any]:
    """What `random_prompts` may draw from: the `vocabulary`'s size and the `special_ids` to leave out.

    Special are the ids that the model's own configs give a meaning: begin, end, padding, image and audio placeholders.
    """
    special: set[int] = set()
    for config in (loaded.model.config, loaded.model.config.get_text_config(), loaded.model.generation_config):
        for name, value in config.to_dict().items():
            if name.endswith(("_token_id", "_token_index")):
                special.update(i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int))
    return {"vocabulary": vocabulary_size(loaded), "special_ids": special}


def vocabulary_size(loaded: LoadedModel) -> int:
    """Rows of the model's embedding table: every id below is one that it can take."""
    return int(loaded.model.get_input_embeddings().weight.shape[0])


def encoder(loaded: LoadedModel) -> Callable[[str], list[int]]:
    """A function from text to ids: the model's tokenizer, or bytes for a model with random weights, which has none."""
    if loaded.spec.source is None:
        size = vocabulary_size(loaded)
        if size < _BYTES:
            raise PromptError(
                f"model {loaded.spec.name!r} has no tokenizer and only {size} tokens: "
                f"texts need a vocab_size of at least {_BYTES}"
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

"""Options of `generate` that change what an inference computes: some are counted, the others reported."""

from collections.abc import Mapping
from typing import Any

_OTHER_MODES = ("prompt_lookup_num_tokens", "assistant_early_exit", "penalty_alpha", "dola_layers")
"""Options with which the number of passes depends on the generated text."""

_GROWING_CACHES = (None, "dynamic", "dynamic_full", "offloaded", "quantized")
"""Caches that grow with the sequence. With a cache of fixed length, attention may compute over its full length."""


def sequences(generate: Mapping[str, Any]) -> int:
    """Sequences computed per prompt: its beams, or its returned sequences."""
    counts = [generate.get(name) for name in ("num_beams", "num_return_sequences")]
    return max([1, *(count for count in counts if isinstance(count, int))])


def uncounted(generate: Mapping[str, Any], *, input_tokens: int) -> str | None:
    """Why the FLOPs of an inference with these options differ from the count; null if they do not."""
    cache, chunk = generate.get("cache_implementation"), generate.get("prefill_chunk_size")
    if cache not in _GROWING_CACHES:
        return f"generate.cache_implementation: {cache} may compute attention over the full length of the cache"
    if isinstance(chunk, int) and chunk < input_tokens:
        return f"generate.prefill_chunk_size: {chunk} splits the prompt into chunks"
    if generate.get("guidance_scale") not in (None, 1):
        return "generate.guidance_scale adds a second pass for every token"
    if generate.get("use_cache") is False:
        return "generate.use_cache: false recomputes the whole sequence for every token"
    if other := next((name for name in _OTHER_MODES if generate.get(name)), None):
        return f"the number of passes with generate.{other} depends on the generated text"
    return None

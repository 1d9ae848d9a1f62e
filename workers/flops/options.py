"""Options of `generate` that change what an inference computes: some are counted, the others are said."""

from collections.abc import Mapping
from typing import Any

_OTHER_MODES = ("prompt_lookup_num_tokens", "assistant_early_exit", "penalty_alpha", "dola_layers")
"""Options that make passes which depend on what is generated."""

_GROWING_CACHES = (None, "dynamic", "dynamic_full", "offloaded", "quantized")
"""Caches that hold what was computed and no more. Over a fixed one, attention is computed in full length."""


def sequences(generate: Mapping[str, Any]) -> int:
    """Sequences that each prompt becomes, before it is computed: its beams, or what is asked back of it."""
    counts = [generate.get(name) for name in ("num_beams", "num_return_sequences")]
    return max([1, *(count for count in counts if isinstance(count, int))])


def uncounted(generate: Mapping[str, Any], *, input_tokens: int) -> str | None:
    """Why an inference with these options computes something else than was counted; null where it does not."""
    cache, chunk = generate.get("cache_implementation"), generate.get("prefill_chunk_size")
    if cache not in _GROWING_CACHES:
        return f"over the cache of generate.cache_implementation: {cache}, attention may be computed in full length"
    if isinstance(chunk, int) and chunk < input_tokens:
        return f"generate.prefill_chunk_size: {chunk} computes the prompt in pieces"
    if generate.get("guidance_scale") not in (None, 1, 1.0):
        return "generate.guidance_scale makes a second pass for every token"
    if generate.get("use_cache") is False:
        return "generate.use_cache: false computes the whole sequence again for every token"
    if other := next((name for name in _OTHER_MODES if generate.get(name)), None):
        return f"how many passes generate.{other} makes depends on what is generated"
    return None

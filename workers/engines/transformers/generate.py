"""One generation of exactly the number of tokens that a cell requests, timed token by token."""

import difflib
from collections.abc import Mapping
from typing import Any

from workers.engines import TokenTimes
from workers.engines.transformers.clock import token_clock
from workers.engines.transformers.load import LoadedModel
from workers.prompts import Prompts
from workers.records.errors import GenerationError

_OWN_FIELDS = {
    "eos_token_id": "not allowed, as every request generates exactly output_tokens tokens",
    "max_length": "the sweep sets this by `output_tokens`",
    "max_new_tokens": "the sweep sets this by `output_tokens`",
    "min_length": "the sweep sets this by `output_tokens`",
    "min_new_tokens": "the sweep sets this by `output_tokens`",
}


class Generator:
    """Calls `model.generate` with one batch of prompts, in the same way each time.

    `rows` is the number of sequences per call, `not_timed` the reason why tokens are not timed (None if they are).
    """

    def __init__(
        self, loaded: LoadedModel, prompts: Prompts, *, output_tokens: int, options: Mapping[str, Any]
    ) -> None:
        self._model = loaded.model
        self._prompts = prompts.to(loaded.device)
        self._config = _generation_config(loaded.model, output_tokens, options)
        self._width = self._prompts.input_ids.shape[1] + output_tokens
        self._output_tokens = output_tokens
        self.rows = int(self._prompts.input_ids.shape[0]) * (self._config.num_return_sequences or 1)
        self.not_timed = _why_not_timed(self._config)
        self.clock = token_clock(self.rows, loaded.device)

    def once(self) -> TokenTimes:
        """Generate once. Raises GenerationError if the model returned more or fewer tokens than requested."""
        self.clock.start()
        output = self._model.generate(
            input_ids=self._prompts.input_ids,
            attention_mask=self._prompts.attention_mask,
            generation_config=self._config,
            stopping_criteria=None if self.not_timed else [self.clock],
        )
        times = self.clock.stop()
        sequences = output if hasattr(output, "shape") else output.sequences
        if tuple(sequences.shape) != (self.rows, self._width):
            raise GenerationError(
                f"generate returned sequences of shape {tuple(sequences.shape)} instead of {(self.rows, self._width)} "
                f"({self._output_tokens} new tokens each)"
            )
        return times


def _why_not_timed(config: Any) -> str | None:
    """Tokens are timed only if each step of the loop emits one token of each sequence."""
    mode = str(config.get_generation_mode().value)
    return None if mode in ("greedy_search", "sample") else f"{mode} does not emit one token per step"


def _generation_config(model: Any, output_tokens: int, options: Mapping[str, Any]) -> Any:
    """The generation config, greedy by default. A misspelt option is an error: transformers would ignore it."""
    from transformers import GenerationConfig

    known = set(GenerationConfig().to_dict())
    for name in options:
        if name in _OWN_FIELDS:
            raise GenerationError(f"generate.{name}: {_OWN_FIELDS[name]}")
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise GenerationError(f"generate.{name}: transformers' GenerationConfig has no such field{hint}")
    pad = model.generation_config.pad_token_id
    fields = {"do_sample": False, "pad_token_id": 0 if pad is None else pad, **options}
    return GenerationConfig(**fields, max_new_tokens=output_tokens, eos_token_id=None)

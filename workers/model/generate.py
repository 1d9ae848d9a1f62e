"""One generation of exactly the tokens that a cell asks for, timed token by token."""

import difflib
from collections.abc import Mapping
from typing import Any

from workers.clock import TokenTimes, token_clock
from workers.errors import GenerationError
from workers.model.load import LoadedModel
from workers.prompts import Prompts

_OWN_FIELDS = {
    "eos_token_id": "a request makes exactly output_tokens tokens, so nothing may end it early",
    "max_length": "the sweep sets this by `output_tokens`",
    "max_new_tokens": "the sweep sets this by `output_tokens`",
    "min_length": "the sweep sets this by `output_tokens`",
    "min_new_tokens": "the sweep sets this by `output_tokens`",
}


class Generator:
    """Calls `model.generate` with one batch of prompts, the same way each time.

    `rows` is the number of sequences made per call, `not_timed` why no token can be given a time (null: each can).
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
        """Generate once. Raises GenerationError if the model made more or fewer tokens than asked."""
        self.clock.start()
        made = self._model.generate(
            input_ids=self._prompts.input_ids,
            attention_mask=self._prompts.attention_mask,
            generation_config=self._config,
            stopping_criteria=None if self.not_timed else [self.clock],
        )
        times = self.clock.stop()
        sequences = made if hasattr(made, "shape") else made.sequences
        if tuple(sequences.shape) != (self.rows, self._width):
            raise GenerationError(
                f"generate made sequences of shape {tuple(sequences.shape)}, but {(self.rows, self._width)} were asked "
                f"for ({self._output_tokens} new tokens each)"
            )
        return times


def _why_not_timed(config: Any) -> str | None:
    """A token has a time only where each step of the loop settles one token of each sequence."""
    mode = str(config.get_generation_mode().value)
    return None if mode in ("greedy_search", "sample") else f"{mode} does not settle one token per step"


def _generation_config(model: Any, output_tokens: int, options: Mapping[str, Any]) -> Any:
    """Greedy unless `options` say otherwise. A misspelt option is an error: transformers would ignore it."""
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

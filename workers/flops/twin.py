"""The model's twin on the meta device: it has every shape and no memory, so its passes can be counted anywhere.

The twin takes the very steps that `generate` takes (the prompt, then one token after the other over the cache), through
the model's own preparation of inputs, so what is counted is what a real run executes. Attention is eager, because the
fused kernels hide their products from every counter; experts are batched, because their loop asks which expert was hit,
and meta tensors hold no answer.
"""

import inspect
from copy import copy
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation.configuration_utils import GenerationMode

from workers.flops.blueprint import decoder_of
from workers.flops.config import ModelConfig


class Twin:
    """One model on the meta device.

    Args:
        config: the model's.
        masked: whether passes get an attention mask, as `generate` gives them. Some models ask it whether it hides
            anything, which meta tensors cannot answer; they do without, as nothing is padded here.
    """

    def __init__(self, config: ModelConfig, *, masked: bool = True) -> None:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                config.config,
                dtype=torch.float32,  # whichever the weights have: products do not depend on it, conversions take time
                attn_implementation="eager",
                experts_implementation="batched_mm",
                trust_remote_code=config.trust_remote_code,
            )
        # `to`, because a tensor made by torch.FloatTensor is on the CPU whatever the context says.
        self.model, self.masked = model.to("meta").eval(), masked
        _take_fixed_frequencies(self.model)
        self.modules = sum(1 for _ in decoder_of(self.model).modules())
        """Modules that a pass runs through: what it takes to count one."""
        self._accepted = inspect.signature(model.forward).parameters

    def prompt(self, batch: int, tokens: int) -> "Generation":
        """Begin a generation with `batch` prompts of `tokens` tokens each; nothing is computed yet."""
        ids = torch.zeros(batch, tokens, dtype=torch.long, device="meta")
        arguments: dict[str, Any] = {"use_cache": True}
        if self.masked:
            arguments["attention_mask"] = torch.ones_like(ids)
        else:
            self.model.config.pad_token_id = None  # or models would look for padding among the tokens
        if "position_ids" in self._accepted:
            arguments["position_ids"] = torch.zeros_like(ids)
        if self.model._supports_logits_to_keep():  # noqa: SLF001 - what `generate` itself calls
            arguments["logits_to_keep"] = 1
        self.model._prepare_cache_for_generation(  # noqa: SLF001 - what `generate` itself calls
            GenerationConfig(), arguments, GenerationMode.GREEDY_SEARCH, batch, tokens
        )
        return Generation(self.model, ids, arguments)


def _take_fixed_frequencies(model: Any) -> None:
    """Rotary embeddings that ask how long the sequence is, which meta tensors cannot answer, take fixed frequencies.

    The products are the same: only the frequencies' values differ.
    """
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if isinstance(kinds, dict):
            module.rope_type = {layer: "default" if "dynamic" in kind else kind for layer, kind in kinds.items()}
        elif kinds == "dynamic":
            module.rope_type = "default"
        elif kinds == "longrope":  # PhiMoE's asks its config, the others compute both sets of frequencies
            module.config = copy(module.config)
            module.config.rope_parameters = {**module.config.rope_parameters, "rope_type": "default"}


class Generation:
    """A generation under way: each `step` is one pass, the first over the prompt, the others over one token."""

    def __init__(self, model: Any, ids: torch.Tensor, arguments: dict[str, Any]) -> None:
        self._model, self._ids, self._arguments, self._first = model, ids, arguments, True

    def step(self) -> None:
        """Run one pass, and append one token per sequence."""
        with torch.no_grad():
            self._step()

    def _step(self) -> None:
        new_tokens = None if self._first else 1
        inputs = self._model.prepare_inputs_for_generation(
            self._ids, next_sequence_length=new_tokens, is_first_iteration=self._first, **self._arguments
        )
        outputs = self._model(**inputs, return_dict=True)
        self._arguments = self._model._update_model_kwargs_for_generation(  # noqa: SLF001 - what `generate` itself calls
            outputs, self._arguments, is_encoder_decoder=self._model.config.is_encoder_decoder
        )
        self._ids = torch.cat([self._ids, self._ids[:, -1:]], dim=-1)
        self._first = False

    @property
    def cache(self) -> Any:
        """What the model keeps between passes, under whichever of transformers' names for it; None without."""
        names = ("past_key_values", "cache_params", "state", "mems", "past_buckets_states")
        return next((self._arguments[n] for n in names if self._arguments.get(n) is not None), None)

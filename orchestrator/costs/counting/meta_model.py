"""The meta model: a model on the meta device. It has shapes but no memory, so any machine can count its passes.

It takes the same steps as `generate`: the prompt, then one token at a time over the cache, through the model's own
preparation of inputs. So the count is of what a real run executes. Attention is eager, because fused kernels hide their
products from every counter. Experts are batched, because their loop reads which experts were selected, and meta tensors
hold no values.
"""

import inspect
from copy import copy
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation.configuration_utils import GenerationMode

from orchestrator.costs.counting.inspection import decoder_of
from orchestrator.costs.counting.model_config import ModelConfig


class MetaModel:
    """One model on the meta device.

    Args:
        config: the model's.
        masked: whether passes get an attention mask, as in `generate`. Some models read its values, which meta tensors
            do not hold; these models run without a mask, because no prompt is padded here.
    """

    def __init__(self, config: ModelConfig, *, masked: bool = True) -> None:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                config.config,
                dtype=torch.float32,  # products do not depend on the type, and conversions take time
                attn_implementation="eager",
                experts_implementation="batched_mm",
                trust_remote_code=config.trust_remote_code,
            )
        # `to`, because torch.FloatTensor ignores the context and creates tensors on the CPU.
        self.model, self.masked = model.to("meta").eval(), masked
        _take_fixed_frequencies(self.model)
        self.modules = sum(1 for _ in decoder_of(self.model).modules())
        """Modules that a pass runs through: the effort to count one."""
        self._accepted = inspect.signature(model.forward).parameters

    def prompt(self, batch: int, tokens: int) -> "Generation":
        """Begin a generation with `batch` prompts of `tokens` tokens each, without computing anything yet."""
        ids = torch.zeros(batch, tokens, dtype=torch.long, device="meta")
        arguments: dict[str, Any] = {"use_cache": True}
        if self.masked:
            arguments["attention_mask"] = torch.ones_like(ids)
        else:
            self.model.config.pad_token_id = None  # otherwise models look for padding among the tokens
        if "position_ids" in self._accepted:
            arguments["position_ids"] = torch.zeros_like(ids)
        if self.model._supports_logits_to_keep():  # noqa: SLF001 - as in `generate`
            arguments["logits_to_keep"] = 1
        self.model._prepare_cache_for_generation(  # noqa: SLF001 - as in `generate`
            GenerationConfig(), arguments, GenerationMode.GREEDY_SEARCH, batch, tokens
        )
        return Generation(self.model, ids, arguments)


def _take_fixed_frequencies(model: Any) -> None:
    """Fix the frequencies of rotary embeddings that read the sequence length, which meta tensors do not hold.

    The products stay the same; only the values of the frequencies differ.
    """
    for module in model.modules():
        rope_type = getattr(module, "rope_type", None)
        if isinstance(rope_type, dict):
            module.rope_type = {layer: "default" if "dynamic" in name else name for layer, name in rope_type.items()}
        elif rope_type == "dynamic":
            module.rope_type = "default"
        elif rope_type == "longrope":  # PhiMoE reads its config; the others compute both sets of frequencies
            module.config = copy(module.config)
            module.config.rope_parameters = {**module.config.rope_parameters, "rope_type": "default"}


class Generation:
    """A generation in progress: the first `step` is a pass over the prompt, each later one over one token."""

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
        self._arguments = self._model._update_model_kwargs_for_generation(  # noqa: SLF001 - as in `generate`
            outputs, self._arguments, is_encoder_decoder=self._model.config.is_encoder_decoder
        )
        self._ids = torch.cat([self._ids, self._ids[:, -1:]], dim=-1)
        self._first = False

    @property
    def cache(self) -> Any:
        """What the model keeps between passes, under any of transformers' names for it; None if it keeps nothing."""
        names = ("past_key_values", "cache_params", "state", "mems", "past_buckets_states")
        return next((self._arguments[n] for n in names if self._arguments.get(n) is not None), None)

"""What a real tiny `generate` executes on the CPU, counted at the dispatcher; and our own verdict beside it."""

import json
from functools import cache

import torch
from tiny import tiny
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, PretrainedConfig

from workers.flops import EstimatorProcess
from workers.records import InferenceCost, ModelSpec, Shape

SHAPE = Shape(batch_size=2, input_tokens=12, output_tokens=5, precision="fp32")
"""The prompt is longer than the tiny sliding windows, and short enough for seconds."""


def model(config: PretrainedConfig, *, attention: str | None = "eager") -> torch.nn.Module:
    """A real model with random weights, every expert run on its own."""
    torch.manual_seed(0)
    return (
        AutoModelForCausalLM.from_config(config, attn_implementation=attention, experts_implementation="eager")
        .eval()
        .requires_grad_(requires_grad=False)
    )


def prompts(shape: Shape) -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 90, (shape.batch_size, shape.input_tokens))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def executed(config: PretrainedConfig, shape: Shape = SHAPE) -> int:
    """FLOPs of a real `generate`, at the dispatcher."""
    real = model(config)
    real.generation_config.eos_token_id = None
    with FlopCounterMode(display=False) as mode:
        made = real.generate(
            **prompts(shape), max_new_tokens=shape.output_tokens, do_sample=False, num_beams=1, pad_token_id=0
        )
    assert made.shape == (shape.batch_size, shape.input_tokens + shape.output_tokens)
    return int(mode.get_total_flops())


def spec(config: PretrainedConfig) -> ModelSpec:
    return ModelSpec(name=config.model_type, config=json.loads(json.dumps(config.to_dict(), default=str)))


@cache
def estimator() -> EstimatorProcess:
    """One process for the whole session; it ends with the pipe that it reads from."""
    return EstimatorProcess()


@cache
def compared(model_type: str) -> tuple[int, InferenceCost]:
    """(executed FLOPs, our cost) of one inference of the tiny model of that type."""
    config = tiny(model_type)
    return executed(config), estimator().estimate(spec(config), [SHAPE])[0]


def keeps_its_promise(real: float, cost: InferenceCost) -> bool:
    """high is within 1 %, medium within 5 %; low promises nothing."""
    off = abs(cost.flops.value / real - 1)
    return off <= {"high": 0.01, "medium": 0.05, "low": float("inf")}[cost.flops.confidence]

"""What a real tiny `generate` executes on the CPU, counted at the dispatcher; and our own verdict beside it."""

import json
from functools import cache
from typing import Any

import torch
from tiny import tiny
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, PretrainedConfig

from workers.flops import EstimatorProcess
from workers.model.generate import Generator
from workers.model.load import LoadedModel, _make_ready
from workers.prompts import Prompts
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


def prompts(shape: Shape) -> Prompts:
    """Prompts of that shape; their tokens' values do not matter."""
    ids = torch.randint(1, 90, (shape.batch_size, shape.input_tokens))
    return Prompts(input_ids=ids, attention_mask=torch.ones_like(ids))


def executed(config: PretrainedConfig, shape: Shape = SHAPE, **options: Any) -> int:
    """FLOPs of a real generation, made the way that the worker makes it, at the dispatcher."""
    real = model(config)
    _make_ready(real)
    loaded = LoadedModel(model=real, spec=spec(config), device=torch.device("cpu"), load_s=0.0)
    generator = Generator(loaded, prompts(shape), output_tokens=shape.output_tokens, options=options)
    with FlopCounterMode(display=False) as mode, torch.no_grad():
        generator.once()
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

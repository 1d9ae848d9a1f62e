"""FLOPs that a real `generate` of a tiny model executes on the CPU, counted at the dispatcher, and our own cost."""

import json
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, PretrainedConfig

from orchestrator.costs.counting.process import EstimatorProcess
from testbed.tiny import tiny
from workers.engines.transformers.generate import Generator
from workers.engines.transformers.load import LoadedModel, _make_ready
from workers.prompts import Prompts
from workers.records import InferenceCost, ModelSpec, Shape

SHAPE = Shape(batch_size=2, input_tokens=12, output_tokens=5, precision="fp32")
"""Its prompt is longer than the tiny sliding windows, and short enough to run in seconds."""


def model(config: PretrainedConfig, *, attention: str | None = "eager") -> torch.nn.Module:
    """A real model with random weights, which runs each expert separately."""
    torch.manual_seed(0)
    return (
        AutoModelForCausalLM.from_config(config, attn_implementation=attention, experts_implementation="eager")
        .eval()
        .requires_grad_(requires_grad=False)
    )


def prompts(shape: Shape) -> Prompts:
    """Prompts of a shape, with random tokens."""
    ids = torch.randint(1, 90, (shape.batch_size, shape.input_tokens))
    return Prompts(input_ids=ids, attention_mask=torch.ones_like(ids))


def executed(config: PretrainedConfig, shape: Shape = SHAPE, **options: Any) -> int:
    """FLOPs of a real generation, run as the worker runs it and counted at the dispatcher."""
    real = model(config)
    _make_ready(real)
    loaded = LoadedModel(model=real, spec=spec(config), device=torch.device("cpu"), load_s=0.0)
    generator = Generator(loaded, prompts(shape), output_tokens=shape.output_tokens, options=options)
    with FlopCounterMode(display=False) as mode, torch.no_grad():
        generator.once()
    return int(mode.get_total_flops())


def spec(config: PretrainedConfig) -> ModelSpec:
    """A sweep's model with this config."""
    return ModelSpec(name=config.model_type, config=json.loads(json.dumps(config.to_dict(), default=str)))


@cache
def estimator() -> EstimatorProcess:
    """The counting process, shared by the whole session; it ends when its standard input closes."""
    return EstimatorProcess()


@cache
def compared(model_type: str) -> tuple[int, InferenceCost]:
    """(executed FLOPs, our cost) of one inference of the tiny model of a type."""
    config = tiny(model_type)
    return executed(config), estimator().estimate(spec(config), [SHAPE])[0]


def keeps_its_promise(real: float, cost: InferenceCost) -> bool:
    """Whether the cost is within the error of its confidence: 1 % for high, 5 % for medium, any for low."""
    error = abs(cost.flops.value / real - 1)
    return error <= {"high": 0.01, "medium": 0.05, "low": float("inf")}[cost.flops.confidence]

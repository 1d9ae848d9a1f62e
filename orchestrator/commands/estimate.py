"""`estimate`: the cost of an inference, without a GPU.

A separate process computes the figures, because they need torch, which the driver never loads.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.costs.counting.process import estimate
from orchestrator.costs.plausible import check_fields
from workers.records import PRECISIONS, InferenceCost, ModelSpec, Shape
from workers.records.errors import MeasureError
from workers.records.text import one_line, shortened

_SWEEPS = (".yaml", ".yml")

_MAX_BYTES = 10_000_000
"""Most bytes read of a config; real ones are a hundredth of that. Unit: bytes."""

_MESSAGE_CHARACTERS = 1_000
"""Length limit of a message on standard error, which may quote the config. Unit: characters."""


def main(argv: Sequence[str]) -> int:
    """Run `estimate` with the arguments `argv`; returns the exit status: 0, or 2 with one line on standard error."""
    arguments = _parser().parse_args(argv)
    shape = Shape(
        batch_size=arguments.batch_size,
        input_tokens=arguments.input_tokens,
        output_tokens=arguments.output_tokens,
        precision=arguments.precision,
    )
    try:
        model = model_spec(arguments.model, trust_remote_code=arguments.trust_remote_code)
        (cost,) = estimate(model, [shape])
    except (ValueError, MeasureError) as error:
        print(f"estimate: {shortened(one_line(str(error)), _MESSAGE_CHARACTERS)}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(flat(cost), indent=2))
    else:
        Console().print(table(arguments.model, shape, cost))
    return 0


def model_spec(text: str, *, trust_remote_code: bool = False) -> ModelSpec:
    """The model that MODEL_OR_CONFIG names: a JSON file with a transformers config, a local folder, or a hub id.

    Raises:
        ValueError: the path does not exist, or the file is not a config.
        ModelLoadError: the config has an invalid number.
        EstimateError: the model has too many layers to count.
    """
    path = Path(text)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise ValueError(f"{text:.200}: {error.strerror}") from error
    if is_folder:
        return ModelSpec(name=text, source=str(path.resolve()), trust_remote_code=trust_remote_code)
    if is_file:
        return ModelSpec(name=text, config=_config(path), trust_remote_code=trust_remote_code)
    if path.suffix in (".json", *_SWEEPS) or path.is_absolute() or text.startswith("."):
        raise ValueError(f"{text}: no such file or folder")
    return ModelSpec(name=text, source=text, trust_remote_code=trust_remote_code)


def _config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(_MAX_BYTES).decode())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        if path.suffix in _SWEEPS:
            raise ValueError(f"{path}: not a transformers config in JSON; for a sweep file, use `plan`") from None
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not a transformers config: a JSON object is needed, not {type(config).__name__}")  # noqa: TRY004 - bad input like the rest
    check_fields(str(path), config)
    finite: dict[str, Any] = _without_infinities(config)
    return finite


def _without_infinities(value: Any) -> Any:
    """`value` without infinite fields: they bound time steps, on which no matrix product depends."""
    if isinstance(value, dict):
        return {name: _without_infinities(part) for name, part in value.items() if _finite(part)}
    return [_without_infinities(part) for part in value] if isinstance(value, list) else value


def _finite(value: Any) -> bool:
    """Whether `value` is neither infinite nor a list with an infinity."""
    if isinstance(value, list):
        return all(_finite(part) for part in value)
    return not isinstance(value, float) or math.isfinite(value)


def flat(cost: InferenceCost) -> dict[str, Any]:
    """One JSON object: the fields of `FlopsResult`, each estimator's figure as `flops_<name>`, and the other costs."""
    estimates = cost.estimates.model_dump(mode="json")
    failures = estimates.pop("failures")
    rest = cost.model_dump(mode="json", exclude={"flops", "estimates"})
    return {
        **cost.flops.model_dump(mode="json"),
        **{f"flops_{name}": figure for name, figure in estimates.items()},
        "flops_failures": failures,
        **rest,
    }


def table(name: str, shape: Shape, cost: InferenceCost) -> Table:
    """The same figures as a table."""
    result = Table(
        "", "value", "details", title=f"One inference of {name}", caption=cost.flops.notes, caption_justify="left"
    )
    result.add_row(
        "shape", f"{shape.batch_size} x ({shape.input_tokens} + {shape.output_tokens}) tokens", shape.precision
    )
    result.add_row(
        "FLOPs", _si(cost.flops.value, "FLOP"), f"{cost.flops.method}, {cost.flops.confidence}, {cost.flops.precision}"
    )
    for estimator in ("calflops", "architecture", "parameter_estimate", "dispatcher"):
        figure = getattr(cost.estimates, estimator)
        reason = cost.estimates.failures.get(estimator, "")
        result.add_row(f"  {estimator}", "-" if figure is None else _si(figure, "FLOP"), reason)
    result.add_row("parameters", _si(cost.parameters, ""), f"{_si(cost.active_parameters, '')} active")
    result.add_row("weights", _si(cost.weight_memory_mb * 1e6, "B"), shape.precision)
    if cost.cannot_run:
        result.add_row("can run", "no", cost.cannot_run)
    cache = "-" if cost.kv_cache_mb is None else _si(cost.kv_cache_mb * 1e6, "B")
    result.add_row("KV cache", cache, cost.kv_cache_reason or "at the end of the inference")
    return result


def _si(value: float, unit: str) -> str:
    """`value` with four digits and a decimal prefix."""
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator estimate",
        description="Estimate FLOPs and memory of one inference, without running it.",
    )
    parser.add_argument(
        "model", metavar="MODEL_OR_CONFIG", help="hub id, local folder, or JSON file with a transformers config"
    )
    parser.add_argument("--batch-size", type=_positive, required=True, metavar="B", help="sequences")
    parser.add_argument("--input-tokens", type=_positive, required=True, metavar="P", help="prompt tokens per sequence")
    parser.add_argument("--output-tokens", type=_positive, required=True, metavar="G", help="new tokens per sequence")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="bf16", help="precision of the weights (default: bf16)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--trust-remote-code", action="store_true", help="allow the model's own code to run")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

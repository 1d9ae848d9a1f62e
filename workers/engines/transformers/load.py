"""Load a cell's model, in its precision, on its device."""

import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers import PreTrainedModel as _  # noqa: F401 - imports for seconds, which must not count as loading
from transformers.utils import logging as transformers_logging

from workers.engines.transformers import precisions
from workers.engines.transformers.metadata import is_quantised
from workers.failures import is_out_of_memory
from workers.records import PRECISION_SPECS, Cell, Device, ModelSpec
from workers.records.errors import MeasureError, ModelLoadError, UnsupportedError, one_line

_OWN_FIELDS = {
    "attn_implementation": "attention",
    "dtype": "precisions",
    "revision": "models[].revision",
    "torch_dtype": "precisions",
    "trust_remote_code": "models[].trust_remote_code",
}
"""Arguments of `from_pretrained` that the sweep sets by another name."""

_BUILD = ("dtype", "attn_implementation")
"""Arguments to build a model with, even if it is then loaded again."""

_WEIGHTS_SEED = 0
"""Random weights are the same in every process, so that ranks and repeats run the same model."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model that is ready to generate."""

    model: Any
    """The transformers model, in evaluation mode."""
    spec: ModelSpec
    device: Any
    """The device of its inputs."""
    load_s: float
    """Time from reading the config until the device had every weight. Unit: s."""


def choose_device(requested: Device) -> Any:
    """The torch device for `requested` in this process: `auto` uses CUDA if available."""
    if requested == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError("device 'cuda' was requested, but torch sees no CUDA device in this process; use 'cpu'")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if requested == "auto" and visible not in ("", "-1") and not torch.cuda.is_available():
        raise UnsupportedError(
            f"this process was assigned GPU {visible}, but torch {torch.__version__} sees no CUDA device: install "
            "torch's CUDA build or fix the driver; to measure on the CPU, set `device: cpu`"
        )
    if requested == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def load(cell: Cell) -> LoadedModel:
    """Build or load the cell's model.

    Raises:
        ModelLoadError: the model does not exist, or its config or the loading options are invalid.
        UnsupportedError: this device or library does not support that precision.
    """
    device = choose_device(cell.device)
    precisions.allow_tf32(cell.precision, device)
    _silence()
    arguments = _arguments(cell, device)  # imports the quantising libraries, which must not count as loading
    begin = perf_counter()
    try:
        model = _from_source(cell, arguments) if cell.model.source else _from_config(cell, device, arguments)
    except MeasureError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ModelLoadError(f"{_title(cell.model)} at {cell.precision}: {one_line(error)}") from error
    _make_ready(model)
    if PRECISION_SPECS[cell.precision].quantiser and not is_quantised(model):
        raise UnsupportedError(
            f"precision {cell.precision!r} has no effect on {type(model).__name__}: "
            f"{PRECISION_SPECS[cell.precision].quantiser} found no layer that it can quantise; use another precision"
        )
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return LoadedModel(model=model, spec=cell.model, device=device, load_s=perf_counter() - begin)


def attention_used(loaded: LoadedModel) -> str | None:
    """The attention implementation that the model uses; None if the architecture offers no choice."""
    return getattr(loaded.model.config.get_text_config(), "_attn_implementation", None)


def _from_source(cell: Cell, arguments: dict[str, Any]) -> Any:
    source = cell.model.source or ""
    if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
        raise ModelLoadError(f"model {cell.model.name!r}: folder {source!r} does not exist on {socket.gethostname()}")
    return AutoModelForCausalLM.from_pretrained(
        source,
        revision=cell.model.revision or "main",
        trust_remote_code=cell.model.trust_remote_code,
        **arguments,
    )


def _from_config(cell: Cell, device: Any, arguments: dict[str, Any]) -> Any:
    """A model with random weights, created directly in their final type and on their device.

    transformers quantises and splits while it *loads* weights. For those models, the random weights are passed to
    `from_pretrained` as a state dict: no disk, and the same code as for a model from the hub.
    """
    config, arguments = _config(cell.model, arguments)
    load_again = PRECISION_SPECS[cell.precision].quantiser is not None or cell.tensor_parallel > 1
    build = {name: value for name, value in arguments.items() if name in _BUILD or not load_again}
    build.pop("device_map", None)  # from_config builds on torch's default device
    build_device = torch.device("cpu") if cell.tensor_parallel > 1 else device  # a split model may not fit one card
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), build_device:
        torch.manual_seed(_WEIGHTS_SEED)
        model = AutoModelForCausalLM.from_config(
            config,
            **build,
        )
    if not load_again:
        return model
    weights = model.state_dict()
    family, config = type(model), model.config
    del model
    return family.from_pretrained(None, config=config, state_dict=weights, **arguments)


def _config(spec: ModelSpec, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The config, with the fields that `arguments` override as in `from_pretrained`, and the remaining arguments."""
    fields = dict(spec.config or {})
    model_type = fields.pop("model_type", None)
    if not isinstance(model_type, str):
        raise ModelLoadError(f"model {spec.name!r}: its config has no model_type (e.g. llama)")
    options = {name: value for name, value in arguments.items() if name not in _BUILD}
    family = type(AutoConfig.for_model(model_type))
    config, rest = family.from_dict(fields, return_unused_kwargs=True, **options)
    return config, {**{name: arguments[name] for name in _BUILD}, **rest}


def _arguments(cell: Cell, device: Any) -> dict[str, Any]:
    """Loading arguments for models from the hub and for random ones."""
    options = dict(cell.load)
    for name in sorted(_OWN_FIELDS.keys() & options):
        raise ModelLoadError(f"load.{name}: the sweep sets this by `{_OWN_FIELDS[name]}`")
    quantisation = options.pop("quantization_config", None) or {}
    if not isinstance(quantisation, dict):
        raise ModelLoadError(f"load.quantization_config must be a mapping, not {quantisation!r}")
    config = precisions.quantisation_config(cell.precision, quantisation)
    if config is not None:
        options["quantization_config"] = config
    if cell.tensor_parallel > 1:
        options.update(_split(cell.tensor_parallel))
    else:
        options.setdefault("device_map", {"": str(device)})
    # Not every architecture has SDPA (BLOOM), or attention at all (Mamba). By default, transformers uses SDPA if there
    # is one and eager otherwise; `attention_used` of the result tells which.
    attention = None if cell.attention == "sdpa" else cell.attention
    return {"dtype": precisions.load_dtype(cell.precision), "attn_implementation": attention, **options}


def _split(ways: int) -> dict[str, Any]:
    """Arguments that split one model over the processes of this run's torch.distributed group."""
    import torch.distributed as dist
    from transformers.distributed import DistributedConfig

    if not dist.is_initialized() or dist.get_world_size() % ways:
        raise UnsupportedError(
            f"tensor_parallel: {ways} needs a torch.distributed group whose size is a multiple of {ways}"
        )
    return {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=ways)}


def _make_ready(model: Any) -> None:
    """Set evaluation mode, no gradients, and a generation config without the authors' sampling defaults."""
    model.eval()
    model.requires_grad_(False)
    old = model.generation_config
    model.generation_config = GenerationConfig(bos_token_id=old.bos_token_id, pad_token_id=old.pad_token_id)


def _silence() -> None:
    """Disable progress bars in the log, and warnings within the window.

    bitsandbytes warns per layer and token that LLM.int8 uses fp16, which would add to the measured time.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()


def _title(spec: ModelSpec) -> str:
    """The model's name in error messages."""
    return f"model {spec.name!r}" + (f" ({spec.source})" if spec.source not in (None, spec.name) else "")

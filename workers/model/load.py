"""A cell's model in memory, at its precision, on its device."""

import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers import PreTrainedModel as _  # noqa: F401 - seconds of imports, which are no part of loading a model
from transformers.utils import logging as transformers_logging

from workers.errors import MeasureError, ModelLoadError, UnsupportedError, is_out_of_memory, one_line
from workers.model import kinds
from workers.model.metadata import is_quantised
from workers.records import Cell, Device, ModelSpec

_OWN_FIELDS = {
    "attn_implementation": "attention",
    "dtype": "precisions",
    "revision": "models[].revision",
    "torch_dtype": "precisions",
    "trust_remote_code": "models[].trust_remote_code",
}
"""Arguments of `from_pretrained` that the sweep has a name of its own for."""

_BUILD = ("dtype", "attn_implementation")
"""Arguments that a model is built with even where it is loaded once more afterwards."""

_WEIGHTS_SEED = 0
"""Random weights are the same in every process, so that ranks and repeats run one and the same model."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model that is ready to generate."""

    model: Any
    """The transformers model, in evaluation mode."""
    spec: ModelSpec
    device: Any
    """Where its inputs belong."""
    load_s: float
    """Time from the first look at the config until the device had every weight. Unit: s."""


def choose_device(wanted: Device) -> Any:
    """The torch device that `wanted` means in this process: `auto` takes CUDA where there is one."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError("device 'cuda' was asked for, but torch sees no CUDA device in this process; use 'cpu'")
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if wanted == "auto" and given not in ("", "-1") and not torch.cuda.is_available():
        raise UnsupportedError(
            f"this process was given GPU {given}, but torch {torch.__version__} sees no CUDA device: install torch's "
            "CUDA build or mend the driver; `device: cpu` measures on the CPU"
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def load(cell: Cell) -> LoadedModel:
    """Build or fetch the cell's model.

    Raises:
        ModelLoadError: the model is not there, or its config or the loading options do not fit it.
        UnsupportedError: this device or library cannot hold it at that precision.
    """
    device = choose_device(cell.device)
    kinds.allow_tf32(cell.precision, device)
    _quieten()
    arguments = _arguments(cell, device)  # imports the quantising libraries, which is no part of loading
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
    if cell.precision in kinds.QUANTISERS and not is_quantised(model):
        raise UnsupportedError(
            f"precision {cell.precision!r} changed no weight of {type(model).__name__}: "
            f"{kinds.QUANTISERS[cell.precision]} finds none of the layers that it can quantise there"
        )
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return LoadedModel(model=model, spec=cell.model, device=device, load_s=perf_counter() - begin)


def attention_used(loaded: LoadedModel) -> str | None:
    """The attention implementation that the model really runs; null where it has none to choose."""
    return getattr(loaded.model.config.get_text_config(), "_attn_implementation", None)


def _from_source(cell: Cell, arguments: dict[str, Any]) -> Any:
    source = cell.model.source or ""
    if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
        raise ModelLoadError(f"model {cell.model.name!r}: there is no folder {source!r} on {socket.gethostname()}")
    return AutoModelForCausalLM.from_pretrained(
        source,
        revision=cell.model.revision or "main",
        trust_remote_code=cell.model.trust_remote_code,
        **arguments,
    )


def _from_config(cell: Cell, device: Any, arguments: dict[str, Any]) -> Any:
    """Random weights, made at once in the type and on the device that they are needed in.

    Quantising and splitting happen while transformers *loads* weights, so for those the random ones are handed to
    `from_pretrained` as a state dict: no disk, and the same code as for a model from the hub.
    """
    config, arguments = _config(cell.model, arguments)
    loaded_again = cell.precision in kinds.QUANTISERS or cell.tensor_parallel > 1
    build = {name: value for name, value in arguments.items() if name in _BUILD or not loaded_again}
    build.pop("device_map", None)  # from_config builds where torch's default device is
    where = torch.device("cpu") if cell.tensor_parallel > 1 else device  # what is to be split may not fit one card
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), where:
        torch.manual_seed(_WEIGHTS_SEED)
        model = AutoModelForCausalLM.from_config(
            config,
            **build,
        )
    if not loaded_again:
        return model
    weights = model.state_dict()
    family, config = type(model), model.config
    del model
    return family.from_pretrained(None, config=config, state_dict=weights, **arguments)


def _config(spec: ModelSpec, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The config, bent as by `from_pretrained` by those arguments that name a field of it, and the other arguments."""
    fields = dict(spec.config or {})
    kind = fields.pop("model_type", None)
    if not isinstance(kind, str):
        raise ModelLoadError(f"model {spec.name!r}: its config has no model_type (e.g. llama)")
    options = {name: value for name, value in arguments.items() if name not in _BUILD}
    family = type(AutoConfig.for_model(kind))
    config, rest = family.from_dict(fields, return_unused_kwargs=True, **options)
    return config, {**{name: arguments[name] for name in _BUILD}, **rest}


def _arguments(cell: Cell, device: Any) -> dict[str, Any]:
    """Arguments of loading that hub models and random ones share."""
    options = dict(cell.load)
    for name in sorted(_OWN_FIELDS.keys() & options):
        raise ModelLoadError(f"load.{name}: the sweep sets this by `{_OWN_FIELDS[name]}`")
    quantisation = options.pop("quantization_config", None) or {}
    if not isinstance(quantisation, dict):
        raise ModelLoadError(f"load.quantization_config: a mapping is needed, not {quantisation!r}")
    config = kinds.quantisation_config(cell.precision, quantisation)
    if config is not None:
        options["quantization_config"] = config
    if cell.tensor_parallel > 1:
        options.update(_split(cell.tensor_parallel))
    else:
        options.setdefault("device_map", {"": str(device)})
    # Not every architecture has SDPA (BLOOM), or attention at all (Mamba). Asked for nothing, transformers takes SDPA
    # where there is one and eager otherwise; `attention_used` of the result tells which.
    attention = None if cell.attention == "sdpa" else cell.attention
    return {"dtype": kinds.DTYPES[cell.precision], "attn_implementation": attention, **options}


def _split(ways: int) -> dict[str, Any]:
    """Arguments that split one model over the processes of this run's torch.distributed group."""
    import torch.distributed as dist
    from transformers.distributed import DistributedConfig

    if not dist.is_initialized() or dist.get_world_size() % ways:
        raise UnsupportedError(
            f"tensor_parallel: {ways} needs a torch.distributed group of a multiple of {ways} processes"
        )
    return {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=ways)}


def _make_ready(model: Any) -> None:
    """Evaluation mode, no gradients, and a generation config without what the hub's authors like to sample with."""
    model.eval()
    model.requires_grad_(False)
    old = model.generation_config
    model.generation_config = GenerationConfig(bos_token_id=old.bos_token_id, pad_token_id=old.pad_token_id)


def _quieten() -> None:
    """No progress bars in a job's log, and no warnings within the window.

    bitsandbytes warns per layer and token that LLM.int8 takes fp16, which costs time that is not the model's.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()


def _title(spec: ModelSpec) -> str:
    """The model as an error names it."""
    return f"model {spec.name!r}" + (f" ({spec.source})" if spec.source not in (None, spec.name) else "")

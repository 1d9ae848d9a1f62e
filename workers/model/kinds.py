"""What each precision kind means: the type to load in, the library that quantises, and the flags of the process."""

from collections.abc import Mapping
from typing import Any

import torch

from workers.errors import ModelLoadError, UnsupportedError
from workers.records import Precision

DTYPES: dict[Precision, Any] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    # What is not quantised (embeddings, norms) and what flows between layers is bf16, on CPUs and GPUs alike.
    "int8-bnb": torch.bfloat16,
    "int4-bnb": torch.bfloat16,
    "int8-torchao": torch.bfloat16,
    "fp8-torchao": torch.bfloat16,
}

QUANTISERS: dict[Precision, str] = {
    "int8-bnb": "bitsandbytes",
    "int4-bnb": "bitsandbytes",
    "int8-torchao": "torchao",
    "fp8-torchao": "torchao",
}


def quantiser(precision: Precision) -> str | None:
    """The distribution that quantises for `precision`; null for the plain kinds."""
    return QUANTISERS.get(precision)


def allow_tf32(precision: Precision, device: Any) -> None:
    """Let fp32 products run as TF32 on CUDA's tensor cores, for `tf32` only.

    Set at every load, since one process loads models of many kinds and PyTorch's own default for cuDNN is "allowed".
    """
    if precision == "tf32" and torch.device(device).type != "cuda":
        raise UnsupportedError(
            "precision 'tf32' needs a CUDA device: TF32 is a mode of NVIDIA's tensor cores; use 'fp32'"
        )
    # Not by the newer `fp32_precision`: after that, asking for the older flags raises, and torch.compile and
    # torch.backends.cudnn.flags() ask for them.
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def quantisation_config(precision: Precision, options: Mapping[str, Any]) -> Any:
    """The config object of transformers for a quantised kind, `options` merged in; null for the plain kinds."""
    if precision not in QUANTISERS:
        if options:
            raise ModelLoadError(f"load.quantization_config is set, but precision {precision!r} quantises nothing")
        return None
    try:
        return _QUANTISATIONS[precision](options)
    except ImportError as error:
        raise ModelLoadError(f"precision {precision!r} needs the package {QUANTISERS[precision]!r}: {error}") from error
    except TypeError as error:
        raise ModelLoadError(f"load.quantization_config for {precision!r}: {error}") from error


def _int8_bnb(options: Mapping[str, Any]) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(**{"load_in_8bit": True, **options})


def _int4_bnb(options: Mapping[str, Any]) -> Any:
    from transformers import BitsAndBytesConfig

    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    return BitsAndBytesConfig(**{**nf4, **options})


def _int8_torchao(options: Mapping[str, Any]) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig(**options))


def _fp8_torchao(options: Mapping[str, Any]) -> Any:
    from torchao.quantization import Float8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Float8WeightOnlyConfig(**options))


_QUANTISATIONS: dict[Precision, Any] = {
    "int8-bnb": _int8_bnb,
    "int4-bnb": _int4_bnb,
    "int8-torchao": _int8_torchao,
    "fp8-torchao": _fp8_torchao,
}

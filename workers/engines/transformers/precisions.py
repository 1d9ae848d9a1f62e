"""How to load each precision in transformers: the type, the quantisation config, and the flags of the process."""

from collections.abc import Mapping
from typing import Any

import torch

from workers.records import PRECISION_SPECS, Dtype, Precision
from workers.records.errors import ModelLoadError, UnsupportedError

_DTYPES: dict[Dtype, Any] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def load_dtype(precision: Precision) -> Any:
    """The type to load a model in; of a quantised model, that of its activations and unquantised weights."""
    return _DTYPES[PRECISION_SPECS[precision].compute]


def allow_tf32(precision: Precision, device: Any) -> None:
    """Allow fp32 products to run as TF32 on CUDA's tensor cores, for `tf32` only.

    Set at every load, since one process loads models in many precisions and PyTorch's default for cuDNN is "allowed".
    """
    if precision == "tf32" and torch.device(device).type != "cuda":
        raise UnsupportedError(
            "precision 'tf32' needs a CUDA device: TF32 is a mode of NVIDIA's tensor cores; use 'fp32'"
        )
    # Not the newer `fp32_precision`: after that, reading the older flags raises, and torch.compile and
    # torch.backends.cudnn.flags() read them.
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def quantisation_config(precision: Precision, options: Mapping[str, Any]) -> Any:
    """The quantisation config of a precision, with `options` merged in; None if it quantises nothing."""
    quantiser = PRECISION_SPECS[precision].quantiser
    if quantiser is None:
        if options:
            raise ModelLoadError(f"load.quantization_config is set, but precision {precision!r} quantises nothing")
        return None
    try:
        return _QUANTISATIONS[precision](options)
    except ImportError as error:
        raise ModelLoadError(f"precision {precision!r} needs the package {quantiser!r}: {error}") from error
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

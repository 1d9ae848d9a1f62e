"""What hardware and its libraries do not support, with the reason."""

import re

import pytest

from orchestrator.support import unsupported
from workers.records import PRECISIONS, Cell, Hardware, ModelSpec

H100 = Hardware(
    device="cuda", card="H100", compute_capability=(9, 0), packages=frozenset({"bitsandbytes", "torchao", "flash_attn"})
)
CPU = Hardware(device="cpu", packages=frozenset({"bitsandbytes", "torchao"}))


def cell(**changes: object) -> Cell:
    return Cell(**({"model": ModelSpec(name="a", source="org/a"), "precision": "fp32"} | changes))  # type: ignore[arg-type]


def hardware(**changes: object) -> Hardware:
    return Hardware(**({"device": "cuda", "card": "T", "packages": H100.packages} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_h100_with_the_extras_supports_every_precision(precision: str) -> None:
    assert unsupported(cell(precision=precision), H100) is None


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if name != "tf32"])
def test_a_cpu_with_the_extras_supports_all_precisions_but_tf32(precision: str) -> None:
    assert unsupported(cell(precision=precision), CPU) is None


@pytest.mark.parametrize(
    ("changes", "on", "reason"),
    [
        ({"precision": "tf32"}, CPU, "tensor cores; a CPU has none"),
        ({"precision": "tf32", "device": "cpu"}, H100, "a CPU has none"),
        ({"device": "cuda"}, CPU, "there is no GPU"),
        ({"precision": "fp8-torchao"}, hardware(card="A100", compute_capability=(8, 0)), "8.9, and A100 has 8.0"),
        ({"precision": "tf32"}, hardware(card="V100", compute_capability=(7, 0)), "8.0, and V100 has 7.0"),
        ({"precision": "bf16"}, hardware(card="T4", compute_capability=(7, 5)), "emulate bf16"),
        ({"precision": "int8-bnb"}, hardware(compute_capability=(7, 0)), "needs compute capability 7.5"),
        ({"precision": "int4-bnb"}, hardware(packages=frozenset()), r"bitsandbytes.*joulegrid\[quantised\]"),
        ({"precision": "int8-torchao"}, hardware(packages=frozenset()), r"torchao.*pip install joulegrid\[quantised\]"),
        ({"attention": "flash_attention_2", "precision": "bf16"}, CPU, "runs on CUDA only"),
        ({"attention": "flash_attention_2"}, H100, "fp16 and bf16 only, not fp32"),
        ({"attention": "flash_attention_2", "precision": "fp16"}, hardware(packages=frozenset()), "needs flash_attn"),
        ({"attention": "flash_attention_3", "precision": "bf16"}, hardware(compute_capability=(8, 0)), "9.0"),
    ],
)  # fmt: skip
def test_an_unsupported_cell_has_its_reason(changes: dict[str, object], on: Hardware, reason: str) -> None:
    assert re.search(reason, unsupported(cell(**changes), on) or "")


def test_an_h100_supports_flash_attention_in_half_precision() -> None:
    assert unsupported(cell(attention="flash_attention_2", precision="bf16"), H100) is None

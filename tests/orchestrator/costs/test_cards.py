"""Peaks of cards, typed a second time from the datasheets."""

import pytest

from orchestrator.costs.cards import CARDS, named

DENSE: dict[str, tuple[float, float, dict[str, float]]] = {
    "Tesla V100-SXM2-16GB": (16, 900, {"fp32": 15.7, "fp16": 125}),
    "Tesla V100-SXM2-32GB": (32, 900, {"fp32": 15.7, "fp16": 125}),
    "Tesla V100-PCIE-16GB": (16, 900, {"fp32": 14, "fp16": 112}),
    "Tesla T4": (16, 320, {"fp32": 8.1, "fp16": 65, "int8": 130}),
    "NVIDIA A10": (24, 600, {"fp32": 31.2, "tf32": 62.5, "fp16": 125, "bf16": 125, "int8": 250}),
    "NVIDIA A30": (24, 933, {"fp32": 10.3, "tf32": 82, "fp16": 165, "bf16": 165, "int8": 330}),
    "NVIDIA A40": (48, 696, {"fp32": 37.4, "tf32": 74.8, "fp16": 149.7, "bf16": 149.7, "int8": 299.3}),
    "NVIDIA A100-SXM4-40GB": (40, 1555, {"fp32": 19.5, "tf32": 156, "fp16": 312, "bf16": 312, "int8": 624}),
    "NVIDIA A100-SXM4-80GB": (80, 2039, {"fp32": 19.5, "tf32": 156, "fp16": 312, "bf16": 312, "int8": 624}),
    "NVIDIA A100 80GB PCIe": (80, 1935, {"fp32": 19.5, "tf32": 156, "fp16": 312, "bf16": 312, "int8": 624}),
    "NVIDIA L40S": (
        48, 864, {"fp32": 91.6, "tf32": 183, "fp16": 362.05, "bf16": 362.05, "fp8": 733, "int8": 733},
    ),
    "NVIDIA RTX A6000": (48, 768, {"fp32": 38.7, "tf32": 77.4, "fp16": 154.8, "bf16": 154.8, "int8": 309.7}),
    "NVIDIA GeForce RTX 3090": (24, 936, {"fp32": 35.6, "tf32": 35.6, "fp16": 71, "bf16": 71, "int8": 284}),
    "NVIDIA GeForce RTX 4090": (
        24, 1008, {"fp32": 82.6, "tf32": 82.6, "fp16": 165.2, "bf16": 165.2, "fp8": 330.3, "int8": 660.6},
    ),
}  # fmt: skip
"""Memory in GB, bandwidth in GB/s, and TFLOP/s, as printed: dense, tensor cores with 32-bit accumulation."""

SPARSE: dict[str, tuple[float, float, dict[str, float]]] = {
    "NVIDIA L4": (24, 300, {"fp32": 30.3, "tf32": 120, "fp16": 242, "bf16": 242, "fp8": 485, "int8": 485}),
    "NVIDIA H100 80GB HBM3": (
        80, 3350, {"fp32": 67, "tf32": 989, "fp16": 1979, "bf16": 1979, "fp8": 3958, "int8": 3958},
    ),
    "NVIDIA H100 PCIe": (
        80, 2000, {"fp32": 51, "tf32": 756, "fp16": 1513, "bf16": 1513, "fp8": 3026, "int8": 3026},
    ),
    "NVIDIA H100 NVL": (
        94, 3900, {"fp32": 60, "tf32": 835, "fp16": 1671, "bf16": 1671, "fp8": 3341, "int8": 3341},
    ),
    "NVIDIA H200": (
        141, 4800, {"fp32": 67, "tf32": 989, "fp16": 1979, "bf16": 1979, "fp8": 3958, "int8": 3958},
    ),
    "NVIDIA H200 NVL": (
        141, 4800, {"fp32": 60, "tf32": 835, "fp16": 1671, "bf16": 1671, "fp8": 3341, "int8": 3341},
    ),
}  # fmt: skip
"""The same, but the datasheets print the sparse peaks of the tensor cores: twice the dense ones."""


@pytest.mark.parametrize("name", [*DENSE, *SPARSE])
def test_a_card_has_the_dense_figures_of_its_datasheet(name: str) -> None:
    memory_gb, bandwidth_gb_per_s, printed = (DENSE | SPARSE)[name]
    card = CARDS[name]
    divisor = 2 if name in SPARSE else 1
    peaks = {dtype: tera * 1e12 / (1 if dtype == "fp32" else divisor) for dtype, tera in printed.items()}
    assert card.peak_flops == pytest.approx(peaks)
    assert card.bandwidth == pytest.approx(bandwidth_gb_per_s * 1e9)
    assert card.memory_mb == memory_gb * 1000
    assert card.source


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("Tesla V100-SXM2-16GB", (7, 0)),
        ("Tesla T4", (7, 5)),
        ("NVIDIA A100-SXM4-80GB", (8, 0)),
        ("NVIDIA A10G", (8, 6)),
        ("NVIDIA L4", (8, 9)),
        ("NVIDIA L40S", (8, 9)),
        ("NVIDIA GeForce RTX 4090", (8, 9)),
        ("NVIDIA H100 80GB HBM3", (9, 0)),
        ("NVIDIA H200", (9, 0)),
        ("NVIDIA B200", (10, 0)),
    ],
)
def test_a_card_has_its_compute_capability(name: str, capability: tuple[int, int]) -> None:
    assert CARDS[name].compute_capability == capability


def test_a_name_from_an_early_driver_finds_the_card() -> None:
    assert named("A100-SXM4-40GB") is CARDS["NVIDIA A100-SXM4-40GB"]
    assert named("NVIDIA A100-SXM4-40GB") is CARDS["NVIDIA A100-SXM4-40GB"]
    assert named("Tesla T4") is CARDS["Tesla T4"]
    assert named("Abacus 3000") is None


def test_a_card_without_a_datasheet_has_no_peaks() -> None:
    for name in set(CARDS) - set(DENSE) - set(SPARSE):
        card = CARDS[name]
        assert not card.source or card.peak_flops
    assert (CARDS["NVIDIA A10G"].peak_flops, CARDS["NVIDIA A10G"].bandwidth) == ({}, None)
    assert (CARDS["NVIDIA B200"].peak_flops, CARDS["NVIDIA B200"].bandwidth) == ({}, None)


CAPABILITIES: dict[tuple[int, int], set[str]] = {
    (7, 0): {"Tesla V100-SXM2-16GB", "Tesla V100-SXM2-32GB", "Tesla V100-PCIE-16GB", "Tesla V100-PCIE-32GB"},
    (7, 5): {"Tesla T4"},
    (8, 0): {
        "NVIDIA A30", "NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-80GB", "NVIDIA A100-PCIE-40GB",
        "NVIDIA A100 80GB PCIe",
    },
    (8, 6): {"NVIDIA A10", "NVIDIA A10G", "NVIDIA A40", "NVIDIA RTX A6000", "NVIDIA GeForce RTX 3090"},
    (8, 9): {"NVIDIA L4", "NVIDIA L40S", "NVIDIA GeForce RTX 4090"},
    (9, 0): {"NVIDIA H100 80GB HBM3", "NVIDIA H100 NVL", "NVIDIA H100 PCIe", "NVIDIA H200", "NVIDIA H200 NVL"},
    (10, 0): {"NVIDIA B200"},
}  # fmt: skip


def test_every_card_has_its_compute_capability() -> None:
    assert {name: card.compute_capability for name, card in CARDS.items()} == {
        name: capability for capability, names in CAPABILITIES.items() for name in names
    }


@pytest.mark.parametrize(
    ("card", "like", "memory_gb"),
    [
        ("Tesla V100-SXM2-32GB", "Tesla V100-SXM2-16GB", 32),
        ("Tesla V100-PCIE-32GB", "Tesla V100-PCIE-16GB", 32),
        ("NVIDIA A100-PCIE-40GB", "NVIDIA A100-SXM4-40GB", 40),
    ],
)
def test_cards_of_one_datasheet_differ_in_memory_only(card: str, like: str, memory_gb: float) -> None:
    assert CARDS[card].memory_mb == memory_gb * 1000
    assert (CARDS[card].peak_flops, CARDS[card].bandwidth) == (CARDS[like].peak_flops, CARDS[like].bandwidth)


@pytest.mark.parametrize(("card", "memory_gb"), [("NVIDIA A10G", 24), ("NVIDIA B200", 180)])
def test_a_card_without_a_datasheet_has_its_memory(card: str, memory_gb: float) -> None:
    assert CARDS[card].memory_mb == memory_gb * 1000

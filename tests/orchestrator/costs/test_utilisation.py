import pytest

from orchestrator.costs.cards import named
from orchestrator.costs.utilisation import mbu, mfu


def test_an_unknown_card_has_no_utilisation_and_the_reason_names_it():
    result = mfu(flops_per_second=1e12, compute="bf16", used=("NVIDIA Unheard Of",))
    assert result.value is None
    assert "Unheard Of" in result.source


def test_a_type_that_is_missing_in_the_datasheet_has_no_utilisation():
    assert mfu(flops_per_second=1e12, compute="bf16", used=("Tesla V100-SXM2-16GB",)).value is None


def test_form_factors_of_one_chip_have_different_peaks():
    names = ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL")
    assert (
        len({named(name).peak_flops["bf16"] for name in names}) == len({named(name).bandwidth for name in names}) == 3
    )


def test_half_of_the_peak_of_all_used_cards_is_a_utilisation_of_a_half():
    card = "NVIDIA A100-SXM4-80GB"
    assert mfu(flops_per_second=312e12, compute="bf16", used=(card, card)).value == pytest.approx(0.5)
    result = mbu(read_bytes_per_pass=20.39e9, seconds_per_pass=0.02, used=(card,))
    assert result.value == pytest.approx(0.5)
    assert "A100" in result.source


def test_a_missing_utilisation_has_a_reason():
    assert mbu(read_bytes_per_pass=1e9, seconds_per_pass=None, used=("Tesla T4",)).source == "no decode passes"
    assert mfu(flops_per_second=1e12, compute="fp32", used=()).source == "no GPU was used"


def test_mfu_by_hand():
    """26 of a T4's 65 TFLOP/s; 494.75 of 2 x 989.5 on two H100s; 95 of 125 + 65 on a V100 and a T4."""
    assert mfu(flops_per_second=26e12, compute="fp16", used=("Tesla T4",)).value == pytest.approx(0.4)
    two = ("NVIDIA H100 80GB HBM3",) * 2
    assert mfu(flops_per_second=494.75e12, compute="bf16", used=two).value == pytest.approx(0.25)
    mixed = mfu(flops_per_second=95e12, compute="fp16", used=("Tesla V100-SXM2-32GB", "Tesla T4"))
    assert mixed.value == pytest.approx(0.5)
    assert mixed.source == "NVIDIA V100 Tensor Core GPU datasheet; NVIDIA Turing GPU Architecture whitepaper"


def test_mbu_by_hand():
    """6 GB per pass in 50 ms are 120 GB/s, of an L4's 300 GB/s, or of 3350 + 3350 GB/s on two H100s."""
    assert mbu(read_bytes_per_pass=6e9, seconds_per_pass=0.05, used=("NVIDIA L4",)).value == pytest.approx(0.4)
    two = ("NVIDIA H100 80GB HBM3",) * 2
    assert mbu(read_bytes_per_pass=6e9, seconds_per_pass=0.05, used=two).value == pytest.approx(120 / 6700)


def test_without_flops_or_read_bytes_there_is_a_reason():
    assert mfu(flops_per_second=None, compute="bf16", used=("Tesla T4",)).source == "no FLOPs"
    unknown = mbu(read_bytes_per_pass=None, seconds_per_pass=0.1, used=("Tesla T4",))
    assert unknown.source == "the bytes that a decode pass reads are unknown"

import pytest

from workers.flops import mbu, mfu, peak


def test_an_unknown_card_has_no_utilisation_and_is_named():
    made = mfu(flops_per_second=1e12, compute="bf16", cards=("NVIDIA Unheard Of",))
    assert made.value is None
    assert "Unheard Of" in made.source


def test_a_type_that_the_datasheet_does_not_have_has_no_utilisation():
    assert mfu(flops_per_second=1e12, compute="bf16", cards=("Tesla V100-SXM2-16GB",)).value is None


def test_form_factors_of_one_chip_are_told_apart():
    names = ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL")
    assert len({peak(name).flops["bf16"] for name in names}) == len({peak(name).bandwidth for name in names}) == 3


def test_half_of_the_peak_is_a_utilisation_of_a_half_over_all_cards_used():
    card = "NVIDIA A100-SXM4-80GB"
    assert mfu(flops_per_second=312e12, compute="bf16", cards=(card, card)).value == pytest.approx(0.5)
    made = mbu(read_bytes_per_pass=20.39e9, seconds_per_pass=0.02, cards=(card,))
    assert made.value == pytest.approx(0.5)
    assert "A100" in made.source


def test_without_decode_passes_or_a_gpu_there_is_a_reason():
    assert mbu(read_bytes_per_pass=1e9, seconds_per_pass=None, cards=("Tesla T4",)).source == "no decode passes"
    assert mfu(flops_per_second=1e12, compute="fp32", cards=()).source == "no GPU was used"

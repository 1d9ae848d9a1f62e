from pathlib import Path

import pytest
import torch

from tests.support.cells import GPT2, LLAMA, MIXTRAL, cell, needs_gpu
from workers.engines.transformers import LoadedModel, attention_used, choose_device, load, precision_metadata
from workers.records import Cell, ModelSpec, Precision, PrecisionMetadata
from workers.records.errors import ModelLoadError, UnsupportedError

BLOOM = {"model_type": "bloom", "hidden_size": 64, "n_layer": 2, "n_head": 4, "vocab_size": 300}
IDS = torch.arange(1, 9)[None]


def logits(loaded: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        return loaded.model(IDS).logits.float()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model on disk, with sampling enabled in its generation config."""
    model = load(cell()).model
    model.generation_config.update(do_sample=True, temperature=0.3, eos_token_id=7)
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def from_folder(folder: Path, **fields: object) -> Cell:
    return cell(**fields).model_copy(update={"model": ModelSpec(name="saved", source=str(folder))})


def test_random_weights_are_reproducible_and_do_not_change_the_global_random_state() -> None:
    state = torch.get_rng_state()
    first = logits(load(cell()))
    torch.manual_seed(99)
    second = logits(load(cell()))
    torch.set_rng_state(state)
    assert torch.equal(first, second)


def test_a_model_from_a_folder_has_the_weights_of_the_folder(folder: Path) -> None:
    assert torch.equal(logits(load(from_folder(folder))), logits(load(cell())))


def test_a_loaded_model_is_in_evaluation_mode_and_greedy(folder: Path) -> None:
    model = load(from_folder(folder)).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.generation_config.do_sample
    assert model.generation_config.eos_token_id is None


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("fp16", "float16"), ("bf16", "bfloat16")])
def test_a_plain_precision_has_one_type_throughout(precision: Precision, dtype: str) -> None:
    model = load(cell(precision=precision)).model
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    metadata = precision_metadata(model)
    assert (metadata.weights, metadata.activations, metadata.compute) == (precision,) * 3
    assert metadata.mixed_precision_breakdown is None
    assert metadata.quantization_method is None


QUANTISED = {
    "int8-bnb": ("int8", "bf16", "bitsandbytes LLM.int8", "Linear8bitLt:int8"),
    "int4-bnb": ("int4", "bf16", "bitsandbytes nf4", "Linear4bit:int4"),
    "int8-torchao": ("int8", "bf16", "torchao int8 weight-only", "Linear:int8"),
    "fp8-torchao": ("fp8", "bf16", "torchao fp8 weight-only", "Linear:fp8"),
}


def check(metadata: PrecisionMetadata, precision: str) -> None:
    weights, compute, method, share = QUANTISED[precision]
    assert (metadata.weights, metadata.activations, metadata.compute) == (weights, "bf16", compute)
    assert metadata.quantization_method == method
    assert metadata.mixed_precision_breakdown is not None
    assert sum(metadata.mixed_precision_breakdown.values()) == pytest.approx(1)
    # 73728 of the tiny Llama's parameters are in linear layers, the embedding and the head have 300 x 64 each, the
    # five norms 64
    assert metadata.mixed_precision_breakdown[share] == pytest.approx(73728 / (73728 + 2 * 19200 + 5 * 64))


@pytest.mark.parametrize("precision", QUANTISED)
def test_a_quantised_model_with_random_weights_stays_close_to_the_original(precision: Precision) -> None:
    loaded = load(cell(precision=precision))
    check(precision_metadata(loaded.model), precision)
    expected, actual = logits(load(cell(precision="bf16"))), logits(loaded)
    difference = (actual - expected).norm() / expected.norm()
    assert 0 < difference < (0.2 if precision == "int4-bnb" else 0.06)


@pytest.mark.parametrize("precision", QUANTISED)
def test_a_quantised_model_loads_from_a_folder(folder: Path, precision: Precision) -> None:
    loaded = load(from_folder(folder, precision=precision))
    check(precision_metadata(loaded.model), precision)
    assert torch.equal(logits(loaded), logits(load(cell(precision=precision))))


def test_a_quantised_model_does_not_affect_the_next_model() -> None:
    before = logits(load(cell()))
    for precision in QUANTISED:
        load(cell(precision=precision))
    assert torch.equal(logits(load(cell())), before)


def test_a_model_with_experts_that_no_library_quantises_is_mixed() -> None:
    metadata = precision_metadata(load(cell(MIXTRAL, precision="int8-bnb")).model)
    assert metadata.weights == "mixed"
    assert metadata.mixed_precision_breakdown is not None
    assert next(iter(metadata.mixed_precision_breakdown)) == "MixtralExperts:bf16"


def test_a_precision_without_effect_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="'int8-torchao' has no effect on GPT2LMHeadModel"):
        load(cell(GPT2, precision="int8-torchao"))


@pytest.mark.parametrize("precision", ["fp32", "int8-torchao"])
def test_an_option_that_names_a_field_of_the_config_replaces_it(precision: Precision, folder: Path) -> None:
    fewer = {"num_hidden_layers": 1, "rms_norm_eps": 1e-4}
    for each in (cell(precision=precision, load=fewer), from_folder(folder, precision=precision, load=fewer)):
        model = load(each).model
        assert (len(model.model.layers), model.config.rms_norm_eps) == (1, 1e-4)


def test_options_of_the_quantiser_are_merged() -> None:
    options = {"quantization_config": {"bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "float32"}}
    metadata = precision_metadata(load(cell(precision="int4-bnb", load=options)).model)
    assert metadata.quantization_method == "bitsandbytes nf4 (double)"
    assert metadata.compute == "fp32"


@pytest.mark.parametrize(
    ("config", "requested", "used"),
    [(None, "sdpa", "sdpa"), (None, "eager", "eager"), (BLOOM, "sdpa", "eager")],
    ids=["sdpa", "eager", "an architecture without sdpa"],
)
def test_the_attention_in_use_is_reported(config: dict[str, object] | None, requested: str, used: str) -> None:
    assert attention_used(load(cell(config, attention=requested))) == used


def test_the_flags_of_tf32_stay_readable_for_other_libraries() -> None:
    load(cell())
    assert torch.backends.cuda.matmul.allow_tf32 is False
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.allow_tf32 is False
    with torch.backends.cudnn.flags(enabled=True):  # raises where old and new flags are mixed
        pass


def test_tf32_needs_cuda() -> None:
    with pytest.raises(UnsupportedError, match="'tf32' needs a CUDA device"):
        load(cell(precision="tf32"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_is_never_replaced_by_the_cpu() -> None:
    with pytest.raises(UnsupportedError, match="torch sees no CUDA device"):
        choose_device("cuda")


def test_a_model_that_does_not_exist_is_named() -> None:
    with pytest.raises(ModelLoadError, match=r"model 'saved': folder '/no/such/folder' does not exist on "):
        load(from_folder(Path("/no/such/folder")))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": {"hidden_size": 64}}, "has no model_type"),
        ({"config": {**LLAMA, "model_type": "lama"}}, "lama"),
        ({"config": {"model_type": "t5"}}, "AutoModelForCausalLM. Only causal language models are measured.$"),
        ({"load": {"dtype": "float64"}}, "load.dtype: the sweep sets this by `precisions`"),
        ({"load": {"quantization_config": {"load_in_8bit": True}}}, "precision 'fp32' quantises nothing"),
        ({"load": {"quantization_config": 8}, "precision": "int8-bnb"}, "must be a mapping, not 8"),
        ({"load": {"quantization_config": {"no_such": 1}}, "precision": "int8-torchao"}, "no_such"),
    ],
)
def test_an_invalid_model_or_option_is_one_clear_error(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        load(cell(**changed))


@pytest.mark.gpu
@needs_gpu
def test_tf32_is_enabled_for_tf32_and_disabled_for_fp32() -> None:
    a, b = torch.randn(2, 512, 512, dtype=torch.float64)
    error = {}
    for precision in ("tf32", "fp32"):
        metadata = precision_metadata(load(cell(precision=precision, device="cuda")).model)
        assert metadata.compute == precision
        error[precision] = ((a.float().cuda() @ b.float().cuda()).double().cpu() - a @ b).abs().max()
    assert error["tf32"] > 50 * error["fp32"]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", QUANTISED)
def test_a_quantised_model_loads_on_a_gpu(precision: Precision) -> None:
    loaded = load(cell(precision=precision, device="cuda"))
    assert {parameter.device.type for parameter in loaded.model.parameters()} == {"cuda"}
    check(precision_metadata(loaded.model), precision)

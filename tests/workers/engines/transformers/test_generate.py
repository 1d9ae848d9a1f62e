import pytest
import torch

from tests.support.cells import GPT2, MIXTRAL, cell
from workers.engines.transformers import Generator, encoder, load, random_ids
from workers.prompts import Prompts, random_prompts, text_prompts
from workers.records.errors import GenerationError, PromptError

MAMBA = {
    "model_type": "mamba",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "state_size": 4,
    "vocab_size": 300,
}


def generator(
    config: dict[str, object] | None = None, *, output_tokens: int = 6, rows: int = 3, **options: object
) -> Generator:
    loaded = load(cell(config))
    prompts = random_prompts(rows=rows, length=5, seed=0, **random_ids(loaded))
    return Generator(loaded, prompts, output_tokens=output_tokens, options=options)


@pytest.mark.parametrize("config", [None, GPT2, MIXTRAL, MAMBA], ids=["llama", "gpt2", "mixtral", "mamba"])
@pytest.mark.parametrize("tokens", [1, 6])
def test_every_token_of_every_architecture_is_timed(config: dict[str, object] | None, tokens: int) -> None:
    generating = generator(config, output_tokens=tokens)
    for _ in range(2):
        times = generating.once()
        assert len(times.token_s) == tokens
        assert list(times.token_s) == sorted(times.token_s)
        assert 0 < times.ttft_s <= times.token_s[-1] <= times.e2e_s
    assert generating.not_timed is None


def test_an_end_of_sequence_token_does_not_end_a_request() -> None:
    loaded = load(cell({**GPT2, "eos_token_id": 5}))
    prompts = random_prompts(rows=1, length=5, seed=0, **random_ids(loaded))
    # a model that generates only token 5
    loaded.model.lm_head.weight.zero_()
    loaded.model.transformer.ln_f.bias.fill_(1)
    loaded.model.lm_head.weight[5] = 1
    assert len(Generator(loaded, prompts, output_tokens=9, options={}).once().token_s) == 9


def test_the_clock_does_not_change_the_tokens() -> None:
    loaded = load(cell())
    prompts = random_prompts(rows=2, length=5, seed=0, **random_ids(loaded))
    outputs = []
    original = loaded.model.generate
    loaded.model.generate = lambda **kwargs: outputs.append(original(**kwargs)) or outputs[-1]
    Generator(loaded, prompts, output_tokens=8, options={}).once()
    ids = prompts.input_ids
    for _ in range(8):  # greedy decoding by hand, without a cache
        with torch.no_grad():
            ids = torch.cat([ids, loaded.model(ids).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(outputs[0], ids)


def test_left_padding_does_not_change_the_tokens_of_a_short_prompt() -> None:
    loaded = load(cell())
    outputs = []
    original = loaded.model.generate
    loaded.model.generate = lambda **kwargs: outputs.append(original(**kwargs)) or outputs[-1]
    for texts in (["abcdefgh", "abc"], ["abc"]):
        prompts = text_prompts(texts, encode=encoder(loaded), rows=len(texts), length=8, pad_id=0)
        Generator(loaded, prompts, output_tokens=4, options={}).once()
    assert torch.equal(outputs[0][1, -4:], outputs[1][0, -4:])


def test_beams_count_their_sequences_and_have_no_token_times() -> None:
    generating = generator(num_beams=2)
    assert generating.rows == 3
    assert generating.not_timed is not None
    assert "beam" in generating.not_timed
    generating.once()


def test_several_sequences_per_prompt_are_several_requests() -> None:
    generating = generator(do_sample=True, num_return_sequences=2)
    assert generating.rows == 6
    assert len(generating.once().token_s) == 6


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"tempreature": 0.5}, "generate.tempreature: .* did you mean 'temperature'"),
        ({"max_new_tokens": 5}, "the sweep sets this by `output_tokens`"),
        ({"eos_token_id": 5}, "exactly output_tokens tokens"),
    ],
)
def test_an_option_that_would_be_ignored_or_change_the_number_of_tokens_is_refused(
    option: dict[str, object], message: str
) -> None:
    with pytest.raises(GenerationError, match=message):
        generator(**option)


def test_too_few_tokens_are_an_error() -> None:
    with pytest.raises(GenerationError, match=r"shape \(3, 6\) instead of \(3, 505\)"):
        generator(output_tokens=500, max_time=1e-9).once()


def test_random_prompts_exclude_the_special_tokens_of_the_config() -> None:
    loaded = load(cell({**GPT2, "bos_token_id": 4, "eos_token_id": [5, 6], "pad_token_id": 7}))
    ids = random_ids(loaded)
    assert ids["vocabulary"] == 300
    assert {4, 5, 6, 7} <= ids["special_ids"]


def test_texts_for_models_with_random_weights_are_encoded_as_bytes() -> None:
    assert encoder(load(cell()))("aé") == [97, 195, 169]


def test_texts_need_a_vocabulary_of_at_least_256() -> None:
    with pytest.raises(PromptError, match="vocab_size is only 200"):
        encoder(load(cell({**GPT2, "vocab_size": 200})))


def test_the_prompts_of_a_rank_are_its_rows_of_the_batch() -> None:
    loaded = load(cell())
    batch = random_prompts(rows=4, length=5, seed=0, **random_ids(loaded))
    halves = [batch.rows(0, 2), batch.rows(2, 4)]
    assert torch.equal(torch.cat([half.input_ids for half in halves]), batch.input_ids)
    assert isinstance(halves[0], Prompts)

from typing import Any

import pytest
import torch

from workers.prompts import Prompts, random_prompts, text_prompts
from workers.records.errors import PromptError


def draw(**changed: Any) -> Prompts:
    return random_prompts(
        **{"rows": 4, "length": 50, "vocabulary": 20, "special_ids": {0, 3, 19}, "seed": 1, **changed}
    )


def test_random_prompts_have_the_requested_shape_and_no_padding() -> None:
    prompts = draw()
    assert prompts.input_ids.shape == (4, 50)
    assert prompts.tokens == 200


def test_random_prompts_cover_the_vocabulary_without_its_special_tokens() -> None:
    assert set(draw().input_ids.flatten().tolist()) == set(range(20)) - {0, 3, 19}


def test_special_ids_outside_the_vocabulary_do_not_matter() -> None:
    assert set(draw(special_ids={-1, 20, 10**6}).input_ids.flatten().tolist()) == set(range(20))


def test_the_same_seed_gives_the_same_tokens_and_another_seed_does_not() -> None:
    assert torch.equal(draw().input_ids, draw().input_ids)
    assert not torch.equal(draw().input_ids, draw(seed=2).input_ids)


def test_drawing_does_not_change_the_global_random_state() -> None:
    state = torch.get_rng_state()
    draw()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_vocabulary_of_special_tokens_only_is_refused() -> None:
    with pytest.raises(PromptError, match="all 3 tokens"):
        draw(vocabulary=3, special_ids={0, 1, 2})


def as_bytes(texts: list[str], rows: int = 3, length: int = 4) -> Prompts:
    return text_prompts(texts, encode=lambda text: list(text.encode()), rows=rows, length=length, pad_id=0)


def test_texts_are_cut_and_padded_on_the_left_and_padding_is_not_counted() -> None:
    prompts = as_bytes(["abcdef", "xy", "z"])
    assert prompts.input_ids.tolist() == [[97, 98, 99, 100], [0, 0, 120, 121], [0, 0, 0, 122]]
    assert prompts.attention_mask.tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert prompts.tokens == 7


def test_fewer_texts_than_rows_are_repeated_in_order() -> None:
    assert as_bytes(["ab", "cd"]).input_ids.tolist() == [[97, 98], [99, 100], [97, 98]]


def test_an_empty_text_is_named() -> None:
    with pytest.raises(PromptError, match="text 1 of the prompt file has no tokens"):
        as_bytes(["ab", ""])


def test_an_empty_list_of_texts_is_refused() -> None:
    with pytest.raises(PromptError, match="no texts"):
        as_bytes([])

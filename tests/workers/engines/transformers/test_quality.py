import math
from typing import Any

import pytest
import torch

from tests.support.cells import GPT2, QUALITY, cell
from workers.engines.transformers import load
from workers.engines.transformers.quality import perplexity
from workers.records import Quality

IDS = [(7 * i * i + 3 * i) % 256 for i in range(100)]


def independently(model: Any, ids: list[int], context: int, stride: int) -> tuple[float, int]:
    """Perplexity token by token: each is predicted once, from the tokens before it in its window, in fp64."""
    total, scored, done, begin = 0.0, 0, 1, 0
    while done < len(ids):
        end = min(begin + context, len(ids))
        for position in range(done, end):
            with torch.no_grad():
                logits = model(torch.tensor([ids[begin:position]])).logits[0, -1].double()
            total -= (logits[ids[position]] - torch.logsumexp(logits, 0)).item()
            scored += 1
        done, begin = max(done, end), begin + stride
    return math.exp(total / scored), scored


@pytest.mark.parametrize("config", [None, GPT2], ids=["llama", "gpt2"])
@pytest.mark.parametrize(("context", "stride"), [(16, 5), (16, 15), (30, 1), (60, 59)])
def test_perplexity_equals_an_independent_computation(config: Any, context: int, stride: int) -> None:
    model = load(cell(config)).model
    quality = Quality(sha256="x", file="x", context_tokens=context, stride_tokens=stride, max_tokens=60)
    expected, scored = independently(model, IDS[:60], context, stride)
    result = perplexity(model, IDS, quality)
    assert result.perplexity == pytest.approx(expected, rel=1e-5)
    assert result.scored_tokens == scored == 59
    assert (result.context_tokens, result.stride_tokens) == (context, stride)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary_size() -> None:
    model = load(cell()).model
    model.lm_head.weight.zero_()
    assert perplexity(model, IDS, QUALITY).perplexity == pytest.approx(300, rel=1e-6)


@pytest.mark.parametrize(
    ("changed", "tokens", "reason"),
    [
        ({"stride_tokens": 16}, 60, "stride_tokens 16 must be less than context_tokens 16"),
        ({"context_tokens": 257}, 60, "context_tokens 257 exceeds the model's 256 positions"),
        ({}, 1, "the text has 1 tokens"),
    ],
)
def test_a_text_that_cannot_be_scored_is_null_with_its_reason(changed: Any, tokens: int, reason: str) -> None:
    result = perplexity(load(cell()).model, IDS[:tokens], QUALITY.model_copy(update=changed))
    assert result.perplexity is None
    assert reason in result.perplexity_reason


def test_a_perplexity_out_of_range_is_null_with_its_reason() -> None:
    model = load(cell()).model
    model.lm_head.weight.mul_(1e3)
    result = perplexity(model, IDS, QUALITY)
    assert result.perplexity is None
    assert "the mean negative log-likelihood is" in (result.perplexity_reason or "")

"""Perplexity by a sliding window: every token is scored once, with the tokens before it in the window as context."""

import math
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from workers.records import Quality, QualityMetrics
from workers.records.result import LARGEST


def perplexity(model: Any, token_ids: list[int], quality: Quality) -> QualityMetrics:
    """The exponential of the mean negative log-likelihood of `token_ids` under `model`.

    The window of `context_tokens` moves by `stride_tokens`; only the tokens that it newly covers are scored, so each
    but the first (which has no context) counts once. Source: the sliding-window evaluation of transformers' "Perplexity
    of fixed-length models", with the mean taken over tokens instead of over windows.
    """
    ids = token_ids[: quality.max_tokens]
    shape = {"context_tokens": quality.context_tokens, "stride_tokens": quality.stride_tokens}
    reason = _refusal(model, len(ids), quality)
    if reason:
        return QualityMetrics(perplexity_reason=reason, **shape)
    nll, scored = _negative_log_likelihood(model, ids, quality)
    mean = nll / scored
    if not math.isfinite(mean) or mean > math.log(LARGEST):
        return QualityMetrics(perplexity_reason=f"the mean negative log-likelihood is {mean}", **shape)
    return QualityMetrics(perplexity=math.exp(mean), scored_tokens=scored, **shape)


def _refusal(model: Any, tokens: int, quality: Quality) -> str | None:
    if quality.stride_tokens >= quality.context_tokens:
        return (
            f"stride_tokens {quality.stride_tokens} must be less than context_tokens {quality.context_tokens}: "
            "the first token of a window has no context and cannot be scored"
        )
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and quality.context_tokens > positions:
        return f"context_tokens {quality.context_tokens} exceeds the model's {positions} positions"
    if tokens < 2:
        return f"the text has {tokens} tokens, but at least 2 are needed: the first cannot be scored"
    return None


def _negative_log_likelihood(model: Any, ids: list[int], quality: Quality) -> tuple[float, int]:
    """Sum of -ln p over the scored tokens, and their number."""
    nll, scored, end = 0.0, 0, 0
    for begin in range(0, len(ids), quality.stride_tokens):
        covered = max(end, 1)  # the text's first token has no context
        end = min(begin + quality.context_tokens, len(ids))
        if end > covered:
            window = torch.tensor([ids[begin:end]], device=model.device)
            mask = torch.ones_like(window)
            with torch.no_grad():
                logits = model(input_ids=window, attention_mask=mask, use_cache=False).logits[0].float()
            new = end - covered
            # Logits at one position predict the next token; thousands of terms are summed, so in fp64.
            losses = cross_entropy(logits[-new - 1 : -1], window[0, -new:], reduction="none")
            nll += float(losses.double().sum())
            scored += new
        if end == len(ids):
            break
    return nll, scored

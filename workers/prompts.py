"""The token ids of a cell's prompts: the same in every repeat, on every device and for every number of ranks."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workers.records.errors import PromptError


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A batch of prompts, padded on the left for decoder-only models."""

    input_ids: Any
    """Token ids, shape (rows, width), int64."""
    attention_mask: Any
    """1 for a real token, 0 for padding; same shape and type."""

    @property
    def tokens(self) -> int:
        """Number of tokens in the batch, without padding."""
        return int(self.attention_mask.sum())

    def rows(self, start: int, stop: int) -> "Prompts":
        """The prompts of one rank."""
        return Prompts(input_ids=self.input_ids[start:stop], attention_mask=self.attention_mask[start:stop])

    def to(self, device: Any) -> "Prompts":
        """The same prompts on `device`."""
        return Prompts(input_ids=self.input_ids.to(device), attention_mask=self.attention_mask.to(device))


def random_prompts(*, rows: int, length: int, vocabulary: int, special_ids: Collection[int], seed: int) -> Prompts:
    """`rows` x `length` ids, uniform over `vocabulary` without `special_ids`.

    Special tokens are excluded because some models treat them differently (padding masks, image placeholders). The
    random generator runs on the CPU, so that every device gets the same tokens.
    """
    ordinary = torch.ones(vocabulary, dtype=torch.bool)
    ordinary[[i for i in special_ids if 0 <= i < vocabulary]] = False
    candidates = ordinary.nonzero().flatten()
    if not len(candidates):
        raise PromptError(f"all {vocabulary} tokens of the vocabulary are special: no random prompt can be drawn")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(candidates), (rows, length), generator=generator)
    return Prompts(input_ids=candidates[drawn], attention_mask=torch.ones(rows, length, dtype=torch.int64))


def text_prompts(
    texts: Sequence[str], *, encode: Callable[[str], list[int]], rows: int, length: int, pad_id: int
) -> Prompts:
    """One prompt per text, cut to `length` tokens; after the last text, the first follows again."""
    if not texts:
        raise PromptError("the prompt file has no texts")
    chosen = [encode(texts[row % len(texts)])[:length] for row in range(rows)]
    for row, ids in enumerate(chosen):
        if not ids:
            raise PromptError(f"text {row % len(texts)} of the prompt file has no tokens: {texts[row % len(texts)]!r}")
    width = max(map(len, chosen))
    padded = [[pad_id] * (width - len(ids)) + ids for ids in chosen]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in chosen]
    return Prompts(input_ids=torch.tensor(padded), attention_mask=torch.tensor(mask))

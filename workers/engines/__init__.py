"""The engines that generate, one module or package each. What they share is defined here and needs no heavy library."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTimes:
    """One generation's times, from the call of `generate`."""

    e2e_s: float
    """Time until `generate` returned. Unit: s."""
    token_s: tuple[float, ...]
    """Time until each new token, in order. Unit: s."""

    @property
    def ttft_s(self) -> float:
        """Time to the first token. Unit: s."""
        return self.token_s[0]

    @property
    def itl_s(self) -> tuple[float, ...]:
        """Inter-token latencies, one fewer than tokens. Unit: s."""
        return tuple(later - earlier for earlier, later in zip(self.token_s, self.token_s[1:], strict=False))

"""The engine of the driver's benchmarks, imported by the workers: `engine: benchmarks.trivial_engine:Trivial`."""

from typing import Any

from workers.engines.fake import Fake
from workers.records import InferenceMetrics, RawProcessResult, Run
from workers.records.inference import Distribution

GENERATIONS = 3


class Trivial(Fake):
    """Answers at once, with a result as long as a real one's: it has the times of each generation and token."""

    def measure(self, run: Run, **more: Any) -> RawProcessResult:
        """Make up a result of 3 generations."""
        result = super().measure(run, **more)
        one = result.inference_metrics
        tokens = GENERATIONS * one.generated_tokens
        times = {
            "generations": GENERATIONS,
            "requests": GENERATIONS * one.requests,
            "prompt_tokens": GENERATIONS * one.prompt_tokens,
            "generated_tokens": tokens,
            "output_tokens_per_s": tokens / one.window_s,
            **dict.fromkeys(("ttft", "itl", "tpot", "e2e"), Distribution.of((1e-4,), 1)),
            "ttft_s": (1e-4,) * GENERATIONS,
            "itl_s": ((1e-4,) * 31,) * GENERATIONS,
            "e2e_s": (1e-3,) * GENERATIONS,
        }
        metrics = InferenceMetrics.model_validate(dict(one) | times)
        return result.model_copy(update={"inference_metrics": metrics})

"""Backends for sweeps in tests, as `tests.support.engines:NAME`."""

import json
import logging
from pathlib import Path
from typing import Any

from workers.engines.fake import Fake
from workers.records import RawProcessResult, Run


def broken() -> Fake:
    """A backend whose creation fails."""
    raise ImportError("libcudart.so.13 is missing")


class Loud(Fake):
    """Prints and logs like models and libraries."""

    def measure(self, run: Run, **more: Any) -> RawProcessResult:
        print("hello from", run.cell.input_tokens, flush=True)
        logging.getLogger("torchao").warning("Failed to load kernels")
        logging.getLogger("torchao").warning(f"warned by {run.cell.input_tokens}")
        return super().measure(run, **more)


class Writing:
    """The real measurer; afterwards it writes its model's tokens for one prompt into the folder `generate.act.to`."""

    def __init__(self) -> None:
        from workers.measure import Measurer

        self._measurer = Measurer(cpu_threads=1)

    def measure(self, run: Run, *, rank: int, **more: Any) -> RawProcessResult:
        import torch

        act: Any = run.cell.generate["act"]
        cell = run.cell.model_copy(update={"generate": {}})
        result = self._measurer.measure(run.model_copy(update={"cell": cell}), rank=rank, **more)
        assert self._measurer.loaded is not None
        prompt = torch.arange(3, 11)[None]
        tokens = self._measurer.loaded.model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, eos_token_id=None
        )
        name = f"{run.cell.processes} {run.cell.tensor_parallel} {rank}.json"
        (Path(act["to"]) / name).write_text(json.dumps(tokens[0, 8:].tolist()))
        return result.model_copy(update={"cell_id": run.cell.cell_id})

    def changes(self) -> tuple[str, ...]:
        return self._measurer.changes()

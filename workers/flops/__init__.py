"""FLOPs whose confidence can be believed: three estimators, a count at the dispatcher, and the verdict over them.

Importing this package loads neither torch nor transformers; `estimate` does. `python -m workers.flops` is `estimate` as
a process: a request as JSON on standard input, one JSON list of `InferenceCost` on standard output.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from workers.flops.by_calflops import Library
from workers.flops.memory import compute_dtype
from workers.flops.peaks import Peak, Utilisation, mbu, mfu, peak
from workers.records import InferenceCost, ModelSpec, Shape

__all__ = ["Library", "Peak", "Shape", "Utilisation", "compute_dtype", "estimate", "mbu", "mfu", "peak"]


def estimate(
    model: ModelSpec, shapes: Sequence[Shape], *, load: Mapping[str, Any] = {}, library: Library | None = None
) -> list[InferenceCost]:
    """`workers.flops.costs.estimate`, without loading torch before it is called."""
    from workers.flops.costs import estimate as costs

    return costs(model, shapes, load=load, library=library)

"""FLOPs whose confidence can be believed: three estimators, a count at the dispatcher, and the verdict over them.

Importing this package loads neither torch nor transformers, and nor does calling `estimate`: it asks a process that has
them, `python -m workers.flops`.
"""

from workers.flops.memory import compute_dtype
from workers.flops.peaks import Peak, Utilisation, mbu, mfu, peak
from workers.flops.process import EstimatorProcess, estimate
from workers.records import Shape

__all__ = ["EstimatorProcess", "Peak", "Shape", "Utilisation", "compute_dtype", "estimate", "mbu", "mfu", "peak"]

"""Mean and percentiles over requests; without torch, since the driver pools repeats by the same rule."""

from collections.abc import Sequence

import numpy as np

from workers.records import Distribution


def distribution(values: Sequence[float], rows: int | Sequence[int]) -> Distribution:
    """Over requests: the `rows` sequences of a generation share its time, so each value counts that often.

    Args:
        values: One time per generation (or step). Unit: s.
        rows: Sequences that share each value, one number for all of them or one each.
    """
    requests = np.repeat(np.asarray(values, dtype=np.float64), rows)
    p50, p90, p99 = np.percentile(requests, (50, 90, 99))
    return Distribution(mean_s=float(requests.mean()), p50_s=float(p50), p90_s=float(p90), p99_s=float(p99))

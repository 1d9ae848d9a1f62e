"""`estimate` as a process, so that a driver without torch can ask: `python -m workers.flops < request.json`.

A request is `{"model": ModelSpec, "shapes": [Shape, ...], "load": {...}}`; the answer is a JSON list of
`InferenceCost`. Exit status 2, and one line on standard error, where the model's config cannot be read.
"""

import json
import sys
from contextlib import redirect_stdout

from workers.errors import MeasureError
from workers.flops import estimate
from workers.records import ModelSpec, Shape


def main() -> int:
    """Answer one request."""
    request = json.load(sys.stdin)
    try:
        with redirect_stdout(sys.stderr):
            costs = estimate(
                ModelSpec.model_validate(request["model"]),
                [Shape.model_validate(shape) for shape in request["shapes"]],
                load=request.get("load", {}),
            )
    except MeasureError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps([cost.model_dump(mode="json") for cost in costs]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

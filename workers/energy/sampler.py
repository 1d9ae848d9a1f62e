"""Sample the power of a card without an energy counter: the sampling process, and its client.

A counter can be read after the window, power only at the moment itself. The process that measures must not read it (it
neither polls nor starts a thread inside the window), so another process does, 50 times a second, which takes about 1 %
of a core. NVML's own sample buffer would cost nothing, but holds only about two seconds, on the cards that have it.

Run as `python -m workers.energy.sampler UUID`: prints `ready`, and then for each line of input all samples since the
last, as one line of JSON: `[[time (monotonic, s), half width (s), power (W)], ...]`. Ends at the end of its input.
"""

import json
import os
import select
import subprocess
import sys
import time
import weakref
from collections import deque

from workers.energy.nvml import Card, CardFault, power_reader

INTERVAL_S = 0.02
"""Time between two samples. Unit: s."""
MAX_SAMPLES = 1_000_000
"""Samples stored at most: over five hours."""
ANSWER_S = 20.0
"""Time-out for an answer of the sampler. Unit: s."""


class Sampler:
    """Client of the process that samples one card's power."""

    def __init__(self, uuid: str) -> None:
        """Start the process and wait until it samples.

        Raises:
            CardFault: `power_sampler_failed`.

        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workers.energy.sampler", uuid],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self.close = weakref.finalize(self, _end, self._process)
        if self._line() != "ready":
            self.close()
            raise CardFault("power_sampler_failed")

    def take(self) -> list[tuple[float, float, float]]:
        """All samples since the last call: (time, half width, power). Units: s, s, W."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            return [(at, half, watts) for at, half, watts in json.loads(self._line())]
        except (OSError, ValueError) as error:  # the process died, perhaps while it answered
            raise CardFault("power_sampler_failed") from error

    def _line(self) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        return self._process.stdout.readline().strip() if ready else ""


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def main(uuid: str) -> None:
    """Sample until the input ends. A reading that fails leaves a gap, which the client sees by the times."""
    card = Card(uuid)
    samples: deque[tuple[float, float, float]] = deque(maxlen=MAX_SAMPLES)
    read, _ = power_reader(card)
    print("ready", flush=True)
    while True:
        before_s = time.monotonic()
        try:
            watts = read()
            after_s = time.monotonic()
            samples.append(((before_s + after_s) / 2, (after_s - before_s) / 2, watts))
        except CardFault:
            pass
        request, _, _ = select.select([sys.stdin], [], [], max(0.0, INTERVAL_S - (time.monotonic() - before_s)))
        if request:
            if not os.read(sys.stdin.fileno(), 64):
                return
            print(json.dumps(list(samples)), flush=True)
            samples.clear()


if __name__ == "__main__":
    main(sys.argv[1])

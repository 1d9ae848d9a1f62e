import time

import pytest
import torch

from tests.support.cells import needs_gpu
from workers.engines.transformers.clock import HostClock, token_clock


def test_every_token_has_a_time_and_itl_has_one_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 100.5, 100.75, 101.0, 102.0, 102.25])
    monkeypatch.setattr("workers.engines.transformers.clock.perf_counter", moments.__next__)
    clock = HostClock(rows=3)
    clock.start()
    for _ in range(4):
        clock(None, None)
    times = clock.stop()
    assert times.token_s == (0.5, 0.75, 1.0, 2.0)
    assert times.ttft_s == 0.5
    assert times.itl_s == (0.25, 0.25, 1.0)
    assert times.e2e_s == 2.25


def test_times_of_one_generation_do_not_leak_into_the_next() -> None:
    clock = HostClock(rows=1)
    for tokens in (5, 2):
        clock.start()
        for _ in range(tokens):
            clock(None, None)
        assert len(clock.stop().token_s) == tokens


def test_a_model_that_replaces_the_clock_is_timed_by_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HostClock(rows=1)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    clock.start()
    clock(None, None)
    assert clock.stop().e2e_s > 0


def test_it_never_stops_a_sequence() -> None:
    answer = HostClock(rows=3)(None, None)
    assert answer.dtype == torch.bool
    assert answer.tolist() == [False] * 3


def test_a_model_on_the_cpu_is_timed_by_the_host() -> None:
    assert token_clock(1, "cpu").method == "perf_counter"


@pytest.mark.gpu
@needs_gpu
def test_times_of_cuda_events_lie_within_the_hosts_time_after_synchronising() -> None:
    clock = token_clock(2, "cuda")
    work = torch.randn(4096, 4096, device="cuda")
    for _ in range(2):  # the second round reuses the events of the first
        torch.cuda.synchronize()
        begin = time.perf_counter()
        clock.start()
        for _ in range(5):
            for _ in range(20):
                work @ work
            clock(None, None)
        times = clock.stop()
        assert len(times.token_s) == 5
        assert 0 < times.e2e_s <= time.perf_counter() - begin
        assert list(times.token_s) == sorted(times.token_s)

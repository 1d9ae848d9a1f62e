import os

import torch

from workers.machine import environment


def test_it_names_host_versions_and_threads() -> None:
    record = environment.describe(())
    assert record.device == "cpu"
    assert record.host == os.uname().nodename
    assert record.torch_version == torch.__version__
    assert record.cpu_threads == torch.get_num_threads()
    assert record.memory_total_mb is not None
    assert record.memory_total_mb > 100
    assert record.quantiser_version is None


def test_memory_is_that_of_all_gpus_or_of_the_host_without_one() -> None:
    assert environment.memory_total_mb([80_000_000_000, 24_000_000_000], 512_000_000_000) == 104_000
    assert environment.memory_total_mb([], 512_000_000_000) == 512_000


def test_it_names_the_quantiser_with_its_version() -> None:
    version = environment.describe((), quantiser="torchao").quantiser_version
    assert version is not None
    assert version.startswith("torchao 0.")


def test_cores_are_those_that_the_process_may_run_on() -> None:
    allowed = os.sched_getaffinity(0)
    assert 1 <= environment.physical_cores() <= len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert environment.physical_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)

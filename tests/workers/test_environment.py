import os

import torch

from workers import environment


def test_it_names_host_versions_and_threads() -> None:
    found = environment.describe(())
    assert found.device == "cpu"
    assert found.host == os.uname().nodename
    assert found.torch_version == torch.__version__
    assert found.cpu_threads == torch.get_num_threads()
    assert found.memory_total_mb is not None
    assert found.memory_total_mb > 100
    assert found.quantiser_version is None


def test_it_names_the_quantiser_with_its_version() -> None:
    found = environment.describe((), quantiser="torchao").quantiser_version
    assert found is not None
    assert found.startswith("torchao 0.")


def test_cores_are_those_that_the_process_may_run_on() -> None:
    allowed = os.sched_getaffinity(0)
    assert 1 <= environment.physical_cores() <= len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert environment.physical_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)

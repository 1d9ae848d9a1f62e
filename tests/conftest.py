"""What tests run on: a Ray cluster of this machine's own, a bucket behind a real S3 API, a disk that is nearly full."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.buckets import Bucket

TESTS = Path(__file__).parent

# Ray's processes inherit these: they import the packages, `tests` among them, from the folder above.
# What Ray knows of "the cluster of this machine" lies in its folder for temporary files: ours is our own.
os.environ |= {
    "RAY_TMPDIR": tempfile.mkdtemp(prefix="jg", dir="/tmp"),  # short, for it is part of sockets' names
    "RAY_ADDRESS": "local",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS.parent), os.environ.get("PYTHONPATH")])),
}


# Hypothesis tries the same examples every time, however long the machine takes over one.
settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A cluster of one node with 8 simulated GPUs, for this process and for the drivers that tests start."""
    import ray
    from ray.cluster_utils import Cluster

    # As a sweep's own: beside busy processes, Ray's niceness of 15 would leave these next to nothing.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - so Ray spells it
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 8, "num_gpus": 8, "include_dashboard": False, "object_store_memory": 100 * 2**20,
        },
    )  # fmt: skip
    del os.environ["RAY_worker_niceness"]  # noqa: SIM112
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def ray_session(ray_address: str) -> None:
    """This process joined to that cluster; it stays so, and actors end with what made them."""
    import ray

    if not ray.is_initialized():
        ray.init(address=ray_address, logging_level="warning", log_to_driver=False)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket of the test's own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret-key")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made = Bucket(s3, f"b{uuid.uuid4().hex[:12]}")
    yield made
    made.remove()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        assert not os.environ.get("CI"), f"CI must be able to mount a tmpfs: {mounted.stderr.decode()}"
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)

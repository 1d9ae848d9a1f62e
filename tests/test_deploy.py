"""The files that make clusters: as Ray's launcher and KubeRay read them, and fit for what a sweep asks of them."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.runtime_env.packaging import create_package
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator import config
from orchestrator.backlog import Kind
from orchestrator.schedule.cluster import Cluster

ROOT = Path(__file__).parents[1]
RAY = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("ray=="))[5:]


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text()))


@pytest.fixture
def cluster() -> dict[str, Any]:
    prepared = prepare_config(read("cluster.yaml"))
    validate_config(prepared)
    return dict(prepared)


def test_rays_launcher_accepts_the_cluster(cluster: dict[str, Any]) -> None:
    assert cluster["head_node_type"] in cluster["available_node_types"]


def test_a_key_that_ray_does_not_know_would_be_found() -> None:
    with pytest.raises(Exception, match="idle_timeout_minuts"):
        validate_config(prepare_config(read("cluster.yaml") | {"idle_timeout_minuts": 1}))


def test_gpu_nodes_come_from_nothing_and_the_head_measures_nothing(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["max_workers"] == cluster["max_workers"] > 0


def test_what_a_sweep_asks_the_autoscaler_for_fits_a_gpu_node(cluster: dict[str, Any]) -> None:
    has = cluster["available_node_types"]["gpu"]["resources"]
    asks = Cluster(device="cuda", units_per_process=1, exclusive_node=False, strategy="STRICT_PACK")
    wanted = asks._bundle(Kind(4, 4, "L4"))
    assert all(has[name] >= amount for name, amount in wanted.items())


def test_every_file_names_the_version_of_ray_that_is_tested() -> None:
    assert f"ray:{RAY}-" in read("cluster.yaml")["docker"]["image"]
    assert f"ray:{RAY}-" in (ROOT / "deploy" / "Dockerfile").read_text()
    assert job()["rayClusterSpec"]["rayVersion"] == RAY


def job() -> dict[str, Any]:
    return dict(read("deploy/kuberay-rayjob.yaml")["spec"])


def pods() -> list[dict[str, Any]]:
    spec = job()["rayClusterSpec"]
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def test_the_job_is_a_rayjob_whose_workers_come_from_nothing() -> None:
    file = read("deploy/kuberay-rayjob.yaml")
    assert (file["apiVersion"], file["kind"]) == ("ray.io/v1", "RayJob")
    spec = file["spec"]["rayClusterSpec"]
    assert spec["enableInTreeAutoscaling"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (workers,) = spec["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == 0 < workers["maxReplicas"]


def test_every_mount_has_its_volume_and_every_process_its_cpu() -> None:
    for pod in pods():
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    requests = pods()[1]["containers"][0]["resources"]["requests"]
    limits = pods()[1]["containers"][0]["resources"]["limits"]
    assert requests["nvidia.com/gpu"] == limits["nvidia.com/gpu"]
    assert int(requests["cpu"]) >= int(requests["nvidia.com/gpu"])


def test_the_nightly_job_is_the_same_job_on_a_schedule() -> None:
    file = read("deploy/kuberay-nightly.yaml")
    assert (file["apiVersion"], file["kind"]) == ("ray.io/v1", "RayCronJob")
    assert len(file["spec"]["schedule"].split()) == 5
    assert file["spec"]["jobTemplate"] == job()


def test_the_nightly_sweep_waits_for_nodes_and_keeps_each_night_in_a_bucket() -> None:
    sweep = config.load(ROOT / "examples" / "nightly.yaml")
    assert sweep.placement.wait_for_nodes_s > 0
    assert sweep.device == "cuda"
    assert sweep.out.startswith("s3://")


def test_a_job_sends_the_program_and_little_else(tmp_path: Path) -> None:
    sent = tmp_path / "sent.zip"
    create_package(str(ROOT), sent, include_gitignore=True)
    names = zipfile.ZipFile(sent).namelist()
    assert {"orchestrator/__main__.py", "workers/actor.py", "examples/nightly.yaml"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "docs/", ".git/", ".venv/"))]
    assert sent.stat().st_size < 4_000_000

"""The files that create clusters: valid for Ray's launcher and KubeRay, and fit for the sweep that each names."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml
from ray._private.runtime_env.packaging import create_package
from ray.autoscaler._private.aws.config import _check_ami
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.kuberay.utils import parse_quantity
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
from ray.autoscaler._private.util import fillout_defaults, prepare_config, validate_config
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE
from ray.autoscaler.v2 import scheduler as v2
from ray.autoscaler.v2.event_logger import AutoscalerEventLogger
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import ClusterResourceConstraint

from orchestrator import config, grid
from orchestrator.schedule import cluster as clusters
from orchestrator.schedule.backlog import WorkerShape, shape_of

ROOT = Path(__file__).parents[1]
RAY = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("ray=="))[5:]
KUBERAY = ("deploy/kuberay-rayjob.yaml", "deploy/kuberay-nightly.yaml")
MANIFESTS = ("cluster.yaml", *KUBERAY)


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text()))


def launcher(text: str) -> dict[str, Any]:
    """A cluster file as `ray up` reads it."""
    prepared = prepare_config(yaml.safe_load(text))
    validate_config(prepared)
    return dict(fillout_defaults(prepared))


def job(name: str) -> dict[str, Any]:
    spec = read(name)["spec"]
    return dict(spec.get("jobTemplate", spec))


def autoscaling(name: str) -> dict[str, Any]:
    """The config of Ray's autoscaler on the cluster that a file creates."""
    if name == "cluster.yaml":
        return launcher((ROOT / name).read_text())
    named = {"metadata": {"name": "any", "namespace": "any"}, "spec": job(name)["rayClusterSpec"]}
    return dict(_derive_autoscaling_config_from_ray_cr(named))


def sweep_of(name: str) -> config.SweepConfig:
    """The sweep that a file names in its opening comment."""
    sweeps = set(re.findall(r"examples/[\w-]+\.yaml", (ROOT / name).read_text()))
    assert len(sweeps) == 1, f"{name} names {sweeps}"
    return config.load(ROOT / sweeps.pop())


def shapes(sweep: config.SweepConfig) -> Counter[WorkerShape]:
    return Counter(shape_of(run) for run in grid.runs(grid.expand(sweep), sweep))


def cluster_for(sweep: config.SweepConfig) -> clusters.Cluster:
    return clusters.Cluster(
        device=sweep.device,
        units_per_process=1,
        exclusive_node=sweep.placement.exclusive_node,
        strategy=sweep.placement.strategy,
        wait_for_nodes_s=sweep.placement.wait_for_nodes_s,
    )


def requested(
    sweep: config.SweepConfig, wanted: Mapping[WorkerShape, int], monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    """The bundles that the sweep requests from Ray's autoscaler."""
    requests: list[list[Any]] = []
    monkeypatch.setattr(clusters, "request_resources", lambda *, bundles: requests.append(bundles))
    cluster_for(sweep).ask_for(wanted)
    return requests.pop()


def launched_by_v1(scaling: dict[str, Any], bundles: list[Any]) -> dict[str, int]:
    """The nodes that the first autoscaler starts beside the head; they must be able to hold every bundle."""
    head = scaling["head_node_type"]
    tags = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: head}
    provider = SimpleNamespace(node_tags=lambda _: tags, internal_ip=lambda _: "head")
    types = scaling["available_node_types"]
    scheduler = ResourceDemandScheduler(provider, types, scaling["max_workers"], head, upscaling_speed=1000)
    assert all(scheduler.is_feasible(bundle) for bundle in bundles), (types, bundles)
    resources = {"head": types[head]["resources"]}
    none = NodeAvailabilitySummary({})
    launched, _ = scheduler.get_nodes_to_launch(["head"], {}, [], resources, [], resources, bundles, none)
    return dict(launched)


def launched_by_v2(scaling: dict[str, Any], bundles: list[Any]) -> dict[str, int]:
    """The nodes that the second autoscaler starts."""
    types = AutoscalingConfig(scaling).get_node_type_configs()
    assert types is not None
    wanted = [ResourceRequestUtil.make(bundle) for bundle in bundles]
    constraint = ClusterResourceConstraint(resource_requests=ResourceRequestUtil.group_by_count(wanted))
    request = v2.SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=types,
        max_num_nodes=scaling["max_workers"] + 1,
        cluster_resource_constraints=[constraint],
    )
    reply = v2.ResourceDemandScheduler(AutoscalerEventLogger.__new__(AutoscalerEventLogger)).schedule(request)
    workers = {launch.instance_type: launch.count for launch in reply.to_launch}
    workers.pop(scaling["head_node_type"], None)
    return workers


SCHEDULERS = (launched_by_v1, launched_by_v2)


@pytest.mark.parametrize("launched", SCHEDULERS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_rays_scheduler_starts_gpu_nodes_for_each_shape_of_cell_of_the_sweep(name, launched, monkeypatch) -> None:
    sweep, scaling = sweep_of(name), autoscaling(name)
    (gpu_nodes,) = scaling["available_node_types"].keys() - {scaling["head_node_type"]}
    for shape in shapes(sweep):
        assert launched(scaling, requested(sweep, {shape: 1}, monkeypatch)) == {gpu_nodes: 1}, shape


@pytest.mark.parametrize("launched", SCHEDULERS)
def test_a_node_group_that_does_not_name_its_card_gets_no_node(launched, monkeypatch) -> None:
    scaling = autoscaling(KUBERAY[0])
    del scaling["available_node_types"]["h100"]["resources"]["accelerator_type:H100"]
    bundles = requested(sweep_of(KUBERAY[0]), shapes(sweep_of(KUBERAY[0])), monkeypatch)
    with pytest.raises(AssertionError):
        assert launched(scaling, bundles)


@pytest.mark.parametrize("name", MANIFESTS)
def test_new_nodes_hold_every_cell_of_the_sweep_with_no_card_idle(name) -> None:
    sweep, scaling = sweep_of(name), autoscaling(name)
    (gpu_type,) = scaling["available_node_types"].keys() - {scaling["head_node_type"]}
    resources = scaling["available_node_types"][gpu_type]["resources"]
    (card,) = (key.partition(":")[2] for key in resources if key.startswith("accelerator_type:"))
    cpus, gpus = float(resources["CPU"]), float(resources["GPU"])
    capacity = clusters._units(sweep.device, 1.0, cpus=cpus, gpus=gpus)
    cluster = cluster_for(sweep)
    cluster.nodes = {"new": clusters.Node(id="new", host="new", card=card, capacity=capacity, cpus=cpus, gpus=gpus)}
    wanted = shapes(sweep)
    for shape in wanted:
        assert cluster.why_never(shape) is None
        assert not cluster.waits_for_nodes, f"{name} never holds {shape}"
    taken = [nodes for shape in wanted.elements() if (nodes := cluster.place(shape)) and cluster.take(nodes)]
    assert sum(map(len, taken)) == gpus


@pytest.mark.parametrize("name", MANIFESTS)
def test_gpu_nodes_scale_from_zero_and_the_head_measures_nothing(name) -> None:
    scaling = autoscaling(name)
    types, head = scaling["available_node_types"], scaling["head_node_type"]
    assert types[head]["resources"]["CPU"] == 0
    assert all(group["min_workers"] == 0 < group["max_workers"] for node, group in types.items() if node != head)
    assert sweep_of(name).placement.wait_for_nodes_s >= 600, "a node takes minutes to start"


def test_a_key_that_ray_does_not_know_is_an_error() -> None:
    text = (ROOT / "cluster.yaml").read_text()
    with pytest.raises(Exception, match="idle_timeout_minuts"):
        launcher(text.replace("idle_timeout_minutes", "idle_timeout_minuts"))


def test_the_image_on_aws_is_not_rays_default() -> None:
    cluster = launcher((ROOT / "cluster.yaml").read_text())
    _check_ami(cluster)  # Ray's own: inserts its default if there is no image
    for node_type in cluster["available_node_types"].values():
        image = node_type["node_config"]["ImageId"]
        assert re.fullmatch(r"resolve:ssm:/aws/service/deeplearning/.*ubuntu-2\d.04/latest/ami-id", image)


def test_the_line_for_the_hubs_token_may_be_uncommented() -> None:
    text = (ROOT / "cluster.yaml").read_text().replace("# /home/ray/.cache/", "/home/ray/.cache/")
    assert "/home/ray/.cache/huggingface/token" in launcher(text)["file_mounts"]


@pytest.mark.parametrize("name", [*MANIFESTS, "deploy/Dockerfile"])
def test_every_file_names_the_version_of_ray_that_is_tested_and_extras_that_exist(name) -> None:
    text = (ROOT / name).read_text()
    versions = re.findall(r"ray:(\d[\d.]*)-py311-gpu|rayVersion: (\S+)", text)
    assert versions
    assert {a or b for a, b in versions} == {RAY}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    used = {extra for names in re.findall(r"joulegrid\[([^\]]*)\]", text) for extra in names.split(",")}
    assert used <= extras.keys()


TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
COUNT = {"type": "integer", "minimum": 0}


def mapping(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties, "additionalProperties": False}


def listed(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


POD = mapping(
    "containers",
    nodeSelector=TEXTS,
    securityContext=mapping(fsGroup=COUNT),
    tolerations=listed(mapping("key", key=TEXT, operator={"enum": ["Exists", "Equal"]}, effect=TEXT, value=TEXT)),
    containers=listed(
        mapping(
            "name image resources",
            name=TEXT,
            image=TEXT,
            resources=mapping("requests", requests=TEXTS, limits=TEXTS),
            envFrom=listed(mapping(secretRef=mapping("name", name=TEXT, optional={"type": "boolean"}))),
            env=listed(mapping("name", name=TEXT, value=TEXT, valueFrom=mapping(fieldRef=mapping(fieldPath=TEXT)))),
            volumeMounts=listed(mapping("name mountPath", name=TEXT, mountPath=TEXT)),
        )
    ),
    volumes=listed(
        mapping(
            "name",
            name=TEXT,
            configMap=mapping("name", name=TEXT),
            persistentVolumeClaim=mapping("claimName", claimName=TEXT),
            emptyDir=mapping(medium={"enum": ["Memory"]}, sizeLimit=TEXT),
        )
    ),
)
GROUP = {"rayStartParams": TEXTS, "template": mapping("spec", spec=POD)}
JOB = mapping(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
    backoffLimit=COUNT,
    rayClusterSpec=mapping(
        "headGroupSpec workerGroupSpecs",
        rayVersion=TEXT,
        enableInTreeAutoscaling={"const": True},
        autoscalerOptions=mapping(idleTimeoutSeconds=COUNT),
        headGroupSpec=mapping("rayStartParams template", **GROUP),
        workerGroupSpecs=listed(
            mapping(
                "groupName minReplicas maxReplicas rayStartParams template",
                groupName=TEXT,
                replicas=COUNT,
                minReplicas=COUNT,
                maxReplicas=COUNT,
                **GROUP,
            )
        ),
    ),
)
"""The fields of KubeRay's and Kubernetes' types that the files use; `kubectl` refuses others, and other types."""


@pytest.mark.parametrize("name", KUBERAY)
def test_every_field_is_one_of_kubernetes_and_has_its_type(name) -> None:
    jsonschema.validate(job(name), JOB)
    for pod in pods(name):
        for container in pod["containers"]:
            for amounts in container["resources"].values():
                assert all(parse_quantity(amount) > 0 for amount in amounts.values())


def pods(name: str) -> list[dict[str, Any]]:
    spec = job(name)["rayClusterSpec"]
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def test_one_file_is_a_single_job_and_the_other_the_same_job_on_a_schedule() -> None:
    once, nightly = map(read, KUBERAY)
    assert (once["apiVersion"], once["kind"]) == ("ray.io/v1", "RayJob")
    assert once["metadata"] == {"generateName": "joulegrid-"}, "retries find the date by the job's name"
    assert (nightly["apiVersion"], nightly["kind"]) == ("ray.io/v1", "RayCronJob")
    assert nightly["spec"].keys() == {"schedule", "timeZone", "jobTemplate"}
    assert len(nightly["spec"]["schedule"].split()) == 5
    assert nightly["spec"]["jobTemplate"] == once["spec"]


def test_every_mount_has_its_volume_and_every_process_its_cpu() -> None:
    for pod in pods(KUBERAY[0]):
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    resources = pods(KUBERAY[0])[1]["containers"][0]["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"]
    assert int(resources["requests"]["cpu"]) >= int(resources["requests"]["nvidia.com/gpu"])


def test_every_pod_has_the_secrets_and_the_weights_that_outlive_it() -> None:
    claim = read("deploy/weights.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"], "the pods of several nodes write to it"
    assert parse_quantity(claim["spec"]["resources"]["requests"]["storage"]) >= parse_quantity("200Gi")
    for pod in pods(KUBERAY[0]):
        (container,) = pod["containers"]
        home = next(variable["value"] for variable in container["env"] if variable["name"] == "HF_HOME")
        volume = next(mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == home)
        kept = {"name": volume, "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
        assert kept in pod["volumes"]
        (secret,) = (source["secretRef"]["name"] for source in container["envFrom"])
        for file in KUBERAY:
            opening = (ROOT / file).read_text()
            names = re.findall(r"--from-literal=(\w+)=", opening[opening.index(f"secret generic {secret}") :])
            assert names == ["HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"]


def test_a_retry_after_midnight_uses_the_folder_of_the_day_on_which_the_job_began(tmp_path: Path) -> None:
    program = "import pathlib, sys; from orchestrator import config; print(config.load(pathlib.Path(sys.argv[3])).out)"
    stand_ins = {"python": f'exec "{sys.executable}" -c "{program}" "$@"', "date": 'echo "$TODAY"'}
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    def out(cluster: str, today: str) -> str:
        environment = os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "weights"),
            "RAY_CLUSTER_NAME": cluster, "TODAY": today,
        }  # fmt: skip
        command = job(KUBERAY[0])["entrypoint"].split()
        command[1:] = [str(ROOT / "deploy/job.sh"), str(ROOT / "examples/nightly.yaml")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert job(KUBERAY[0])["entrypoint"] == "sh /home/ray/joulegrid/deploy/job.sh /sweep/sweep.yaml"
    assert out("joulegrid-nightly-x7k2p-abcde", "2026-01-30").endswith("/2026-01-30")
    assert out("joulegrid-nightly-x7k2p-fghij", "2026-01-31").endswith("/2026-01-30")
    assert out("joulegrid-nightly-q9w3e-klmno", "2026-01-31").endswith("/2026-01-31")


def in_image() -> list[Path]:
    """The files that docker sends to the build: `.dockerignore` excludes all but those that it names."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    named = [ROOT / rule[1:] for rule in rules if rule.startswith("!")]
    assert rules[-1] == "**/__pycache__"
    files = [path for place in named for path in (place, *place.rglob("*")) if path.is_file()]
    return [path.relative_to(ROOT) for path in files if "__pycache__" not in path.parts]


def test_the_image_is_built_from_the_program_and_little_else() -> None:
    assert Path("deploy/job.sh") in in_image()
    assert sum((ROOT / path).stat().st_size for path in in_image()) < 4_000_000


@pytest.mark.slow
def test_the_files_of_the_image_can_be_installed(tmp_path: Path) -> None:
    for path in in_image():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "."]
    subprocess.run(command, cwd=tmp_path, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {str(path) for path in in_image() if path.parts[0] in ("orchestrator", "workers") and path.suffix != ".md"}
    assert code <= names


def test_a_job_sends_the_program_and_little_else(tmp_path: Path) -> None:
    sent = tmp_path / "sent.zip"
    create_package(str(ROOT), sent, include_gitignore=True)
    names = zipfile.ZipFile(sent).namelist()
    assert {"orchestrator/__main__.py", "workers/actor.py", "examples/nightly.yaml"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "docs/", ".git/", ".venv/"))]
    assert sent.stat().st_size < 4_000_000


def test_the_nightly_sweep_keeps_each_run_in_a_bucket() -> None:
    assert re.fullmatch(r"s3://[\w-]+/nightly/\d{4}-\d\d-\d\d", sweep_of(KUBERAY[1]).out)

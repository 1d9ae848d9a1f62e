"""Preparation of models: a hub on this machine serves weights; some models cannot be loaded."""

import concurrent.futures
import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import ray

from orchestrator import grid, schedule
from orchestrator.schedule.backlog import Backlog
from orchestrator.schedule.cluster import Cluster, Node
from orchestrator.schedule.preparation import Preparation
from tests.support.processes import HANGS_AFTER_S
from tests.support.sweeps import COUNTED_FAKE, lines, not_counted, sweep
from workers.fetch import on_hub
from workers.records import (
    Cell,
    FlopsEstimates,
    FlopsResult,
    InferenceCost,
    ModelSpec,
    Prepared,
    ProcessFailure,
    Run,
    Shape,
)

COMMIT = "0123456789" * 4


class Hub(BaseHTTPRequestHandler):
    """The part of a model hub's API that fetching a repository needs, for `org/tiny` at one commit."""

    def __init__(self, folder: Path, requests: list[str], *arguments: Any) -> None:
        self.folder, self.requests = folder, requests
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        """Tests read `requests` instead."""

    def _answer(self, *, body: bool) -> None:
        self.requests.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0].split("/")
        files = {file.name: file.read_bytes() for file in self.folder.iterdir()}
        if path[1:4] == ["api", "models", "org"] and path[4] == "tiny":
            listed = [{"rfilename": name} for name in files]
            tree = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()]
            answer: Any = tree if "tree" in path else {"id": "org/tiny", "sha": COMMIT, "siblings": listed}
            self._send(json.dumps(answer).encode(), body=body)
        elif path[1:4] == ["org", "tiny", "resolve"] and path[-1] in files:
            self._send(files[path[-1]], body=body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if "tiny" in path else "RepoNotFound")
            self.end_headers()

    def _send(self, data: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


class Fetched(NamedTuple):
    requests: Counter[str]
    rows: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Fetched:
    """A sweep over a model of the hub, and one that the hub does not have."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("hub")
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(**small, vocab_size=100)).save_pretrained(folder / "tiny")
    (folder / "tiny" / "consolidated.safetensors").write_bytes(b"the same weights once more")
    requests: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, folder / "tiny", requests))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "sweep.yaml").write_text(
        json.dumps(
            {
                "name": "hub",
                "models": ["org/tiny", "org/absent"],
                "precisions": "fp32",
                "device": "cpu",
                "out": "out",
                "axes": {"input_tokens": 4, "output_tokens": [2, 3]},
                "window": {"max_generations": 3},
            }
        )
    )
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(folder / "home"),
        "RAY_ADDRESS": "local",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "sweep.yaml"],
        cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    server.shutdown()
    assert done.returncode == 1, done.stdout + done.stderr  # the absent model
    rows = pq.read_table(folder / "out" / "raw.parquet").to_pylist()
    return Fetched(Counter(requests), {f"{row['model']} {row['output_tokens']}": row for row in rows})


@pytest.mark.slow
def test_weights_are_fetched_once_and_ahead_of_all_cells(fetched: Fetched) -> None:
    weights = [what for what in fetched.requests.elements() if what.startswith("GET") and "safetensors" in what]
    assert weights == [f"GET /org/tiny/resolve/{COMMIT}/model.safetensors"]
    assert [fetched.rows[f"org/tiny {tokens}"]["status"] for tokens in (2, 3)] == ["ok", "ok"]


@pytest.mark.slow
def test_a_model_that_the_hub_does_not_have_fails_before_it_takes_a_worker(fetched: Fetched) -> None:
    for tokens in (2, 3):
        row = fetched.rows[f"org/absent {tokens}"]
        assert (row["status"], row["error_type"]) == ("failed", "ModelLoadError")
        assert "org/absent" in row["error_message"]
    assert sorted(fetched.rows[f"org/tiny {tokens}"]["prior_runs"] for tokens in (2, 3)) == [0, 1]


def test_only_models_without_folder_or_config_come_from_the_hub() -> None:
    assert on_hub(ModelSpec(name="m", source="org/m"))
    assert not on_hub(ModelSpec(name="m", source="/models/m", fingerprint="0"))
    assert not on_hub(ModelSpec(name="m", config={"model_type": "gpt2"}))


def fails(*_: Any) -> Prepared:
    return Prepared(reason="no such model", error_type="ModelLoadError")


ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_a_model_that_cannot_be_counted_is_measured_anyway(ray_session: None) -> None:
    counted_sweep = sweep([{}], engine=COUNTED_FAKE)
    runs = grid.runs(grid.expand(counted_sweep), counted_sweep)
    outcomes = list(schedule.run(runs, counted_sweep, schedule.connect(counted_sweep), estimate=not_counted))
    assert [outcome.status for outcome in outcomes] == ["ok"]


@pytest.mark.slow
def test_a_model_is_counted_once_for_each_way_to_load_it(ray_session: None) -> None:
    counted_sweep = sweep(
        [{}, {}], engine=COUNTED_FAKE, axes={"load.use_cache": [True, False], "output_tokens": [2, 3]}
    )
    runs = grid.runs(grid.expand(counted_sweep), counted_sweep)
    counted: list[tuple[dict[str, Any], int]] = []

    def counts(_: ModelSpec, load: dict[str, Any], shapes: Sequence[Shape]) -> Prepared:
        counted.append((load, len(shapes)))
        return Prepared(reason="a stand-in")

    list(schedule.run(runs, counted_sweep, schedule.connect(counted_sweep), estimate=counts))
    assert sorted(counted, key=str) == [({"use_cache": False}, 2), ({"use_cache": True}, 2)]


@pytest.mark.parametrize(("engine", "counts"), [("fake", 0), ("transformers", 1), (COUNTED_FAKE, 1)])
def test_flops_are_counted_for_every_engine_but_the_fake_one(engine: str, counts: int) -> None:
    counted: list[str] = []

    def count(model: ModelSpec, *_: Any) -> Prepared:
        counted.append(model.name)
        return Prepared(reason="a stand-in")

    model = ModelSpec(name="m", config={"model_type": "llama"})
    run = Run(cell=Cell(model=model, precision="bf16", engine=engine), repeat=0)
    cluster = Cluster(device="cuda", units_per_process=1, exclusive_node=False, strategy="STRICT_PACK")
    preparation, backlog = Preparation([run], cluster, estimate=count), Backlog([run], keep_order=False)
    concurrent.futures.wait(preparation.counts)
    preparation.settle_counts(preparation.counted, backlog)
    assert counted == ["m"] * counts
    reason = "a stand-in" if counts else "the fake engine computes nothing"
    assert preparation.cost(run) == (None, reason)


def test_a_thousand_cells_over_five_models_are_five_counts() -> None:
    counted: list[str] = []

    def counts(model: ModelSpec, _: dict[str, Any], shapes: Sequence[Shape]) -> Prepared:
        counted.append(f"{model.name} {len(shapes)}")
        return Prepared(reason="a stand-in")

    runs = [
        Run(
            cell=Cell(
                model=ModelSpec(name=f"m{model}", config={"model_type": "llama"}),
                precision="bf16",
                input_tokens=1 + cell // 2,
                attention=("sdpa", "eager")[cell % 2],
            ),
            repeat=0,
        )
        for cell in range(200)
        for model in range(5)
    ]
    cluster = Cluster(device="cuda", units_per_process=1, exclusive_node=False, strategy="STRICT_PACK")
    preparation = Preparation(runs, cluster, estimate=counts)
    concurrent.futures.wait(preparation.counts)
    assert sorted(counted) == [f"m{model} 100" for model in range(5)]  # attention makes another cell, not another shape


def test_beams_are_counted_and_what_is_not_counted_lowers_the_confidence() -> None:
    def counts(_: ModelSpec, __: dict[str, Any], shapes: Sequence[Shape]) -> Prepared:
        return Prepared(costs=tuple(cost(shape) for shape in shapes))

    def cost(shape: Shape) -> InferenceCost:
        counted = FlopsEstimates(
            calflops=7.0 * shape.batch_size, dispatcher=7.0 * shape.batch_size, parameter_estimate=5
        )
        high = FlopsResult(
            value=7.0 * shape.batch_size, method="calflops", confidence="high", precision="bf16", notes=""
        )
        return InferenceCost(flops=high, estimates=counted, parameters=1, active_parameters=1, weight_memory_mb=1)

    model = ModelSpec(name="m", config={"model_type": "llama"})
    cells = [
        Cell(model=model, precision="bf16", batch_size=2, generate=generate)
        for generate in ({}, {"num_beams": 3}, {"guidance_scale": 2.0})
    ]
    runs = [Run(cell=cell, repeat=0) for cell in cells]
    cluster = Cluster(device="cuda", units_per_process=1, exclusive_node=False, strategy="STRICT_PACK")
    preparation, backlog = Preparation(runs, cluster, estimate=counts), Backlog(runs, keep_order=False)
    concurrent.futures.wait(preparation.counts)
    assert not list(preparation.settle_counts(preparation.counted, backlog))
    plain, beams, guided = (known.flops for run in runs if (known := preparation.cost(run)[0]))
    assert (plain.value, beams.value, guided.value) == (14, 42, 5)
    assert (plain.confidence, beams.confidence, guided.confidence) == ("high", "high", "low")
    assert "guidance_scale" in (guided.notes or "")


def test_a_run_that_cannot_succeed_is_skipped_before_a_process_is_started_or_weights_are_fetched() -> None:
    def counts(_: ModelSpec, __: dict[str, Any], shapes: Sequence[Shape]) -> Prepared:
        return Prepared(costs=tuple(map(cost, shapes)))

    def cost(shape: Shape) -> InferenceCost:
        low = FlopsResult(value=5, method="parameter_estimate", confidence="low", precision="bf16")
        past = f"no position {shape.input_tokens}" if shape.input_tokens > 1000 else None
        estimates = FlopsEstimates(parameter_estimate=5)
        return InferenceCost(
            flops=low, estimates=estimates, parameters=1, active_parameters=1, weight_memory_mb=1, cannot_run=past
        )

    short, long = (ModelSpec(name=name, source=f"org/{name}") for name in ("short", "long"))
    cells = [Cell(model=model, precision="bf16", input_tokens=tokens) for model, tokens in
             ((short, 100), (short, 2000), (long, 2000))]  # fmt: skip
    runs = [Run(cell=cell, repeat=0) for cell in cells]
    cluster = Cluster(device="cuda", units_per_process=1, exclusive_node=False, strategy="STRICT_PACK")
    preparation, backlog = Preparation(runs, cluster, estimate=counts), Backlog(runs, keep_order=False)
    concurrent.futures.wait(preparation.counts)
    skipped = list(preparation.settle_counts(preparation.counted, backlog))
    assert [run for run, _ in skipped] == runs[1:]
    assert {(failure.status, failure.error_message) for _, failure in skipped} == {("skipped", "no position 2000")}
    assert list(backlog.remaining()) == [runs[0]]
    assert preparation.has_weights(runs[2], [])  # nothing is fetched for it


def breaks(*_: Any) -> Prepared:
    raise RuntimeError("counting broke")


def test_a_count_that_raises_leaves_the_runs_without_flops(ray_session: None) -> None:
    counted_sweep = sweep([{}], engine=COUNTED_FAKE)
    runs = grid.runs(grid.expand(counted_sweep), counted_sweep)
    outcomes = list(schedule.run(runs, counted_sweep, schedule.connect(counted_sweep), estimate=breaks))
    assert [outcome.status for outcome in outcomes] == ["ok"]


def test_a_stop_does_not_wait_for_a_count(ray_session: None) -> None:
    counted_sweep = sweep([{}], engine=COUNTED_FAKE)
    runs = grid.runs(grid.expand(counted_sweep), counted_sweep)
    counting, ended, go_on = threading.Event(), threading.Event(), threading.Event()

    def hangs(*_: Any) -> Prepared:
        counting.set()
        go_on.wait(HANGS_AFTER_S)
        ended.set()
        return Prepared()

    cluster = schedule.connect(counted_sweep)
    assert not list(schedule.run(runs, counted_sweep, cluster, estimate=hangs, stop=counting.is_set))
    assert not ended.is_set()
    go_on.set()


def test_a_model_that_cannot_be_loaded_fails_all_its_runs_before_one_begins(ray_session: None, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    counted_sweep = sweep([{"log": str(begun)}] * 2, engine=COUNTED_FAKE)
    runs = grid.runs(grid.expand(counted_sweep), counted_sweep)
    cluster = schedule.connect(counted_sweep)
    outcomes = list(schedule.run(runs, counted_sweep, cluster, estimate=fails))
    assert [outcome.failure and outcome.failure.error_message for outcome in outcomes] == ["no such model"] * 2
    assert lines(begun) == []


def comes(_: str) -> str:
    return Prepared().model_dump_json()


class Sent(NamedTuple):
    """A run of a hub model, prepared for a cluster of this node and one that does not exist."""

    run: Run
    here: Node
    ghost: Node
    cluster: Cluster
    preparation: Preparation
    backlog: Backlog
    failed: list[ProcessFailure]


def sent(*, ghost_only: bool = False) -> Sent:
    here, ghost = (
        Node(id=id_, host=id_[:4], card=None, capacity=1, cpus=4) for id_ in (ray.nodes()[0]["NodeID"], "ab" * 28)
    )
    cluster = Cluster(device="cuda", units_per_process=1, exclusive_node=False, strategy="STRICT_PACK")
    cluster.nodes = {node.id: node for node in ([ghost] if ghost_only else [here, ghost])}
    run = Run(cell=Cell(model=ModelSpec(name="m", source="org/m"), precision="bf16"), repeat=0)
    backlog = Backlog([run], keep_order=False)
    preparation = Preparation([run], cluster, estimate=not_counted, fetch=comes)
    failed: list[ProcessFailure] = []
    while preparation.in_progress:
        assert not backlog.shapes()  # no run before every fetch has ended
        if preparation.counts:
            done, _ = concurrent.futures.wait(preparation.counts, return_when="FIRST_COMPLETED")
            failed += [failure for _, failure in preparation.settle_counts(list(done), backlog)]
        else:
            (ready,), _ = ray.wait(list(preparation.refs))
            failed += [failure for _, failure in preparation.settle(ready, backlog)]
    return Sent(run, here, ghost, cluster, preparation, backlog, failed)


def test_a_run_goes_only_to_nodes_with_its_weights(ray_session: None) -> None:
    now = sent()
    assert (len(now.backlog.shapes()), now.failed) == (1, [])
    assert now.preparation.has_weights(now.run, [now.here])
    assert not now.preparation.has_weights(now.run, [now.ghost])
    assert not now.preparation.has_weights(now.run, [now.here, now.ghost])


def test_a_worker_may_load_the_weights_itself_if_no_node_has_them(ray_session: None) -> None:
    now = sent()
    now.cluster.nodes = {now.ghost.id: now.ghost}
    assert now.preparation.has_weights(now.run, [now.ghost])


def test_a_new_node_fetches_before_it_measures(ray_session: None) -> None:
    now = sent()
    late = Node(id="cd" * 28, host="late", card=None, capacity=1, cpus=4)
    now.cluster.nodes[late.id] = late
    assert not now.preparation.has_weights(now.run, [late])
    now.preparation.refresh()
    assert [fetch.node for fetch in now.preparation.refs.values()] == [late.id]


def test_weights_that_no_node_can_fetch_fail_the_runs(ray_session: None) -> None:
    now = sent(ghost_only=True)
    assert [failure.error_type for failure in now.failed] == ["NotFetched"]
    assert now.failed[0].error_message.startswith("fetching the weights failed: ")
    assert len(now.backlog) == 0

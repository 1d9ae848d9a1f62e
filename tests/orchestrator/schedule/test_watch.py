"""Whether the cluster is still there: the driver waits for a head that restarts, but not for a dead raylet."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from orchestrator.schedule import watch
from orchestrator.schedule.watch import ClusterLost, Watch


class Machine:
    """A driver's view of its cluster: a raylet's socket, a control store's port, and the time."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self._raylet = socket.socket(socket.AF_UNIX)
        self._raylet.bind(str(folder / "raylet"))
        self._raylet.listen()
        self.start_control_store()

    def node(self, folder: Path, *, head: bool) -> SimpleNamespace:
        host, port = self._store.getsockname()
        return SimpleNamespace(
            gcs_address=f"{host}:{port}", raylet_socket_name=str(folder / "raylet"), head=head,
            get_logs_dir_path=lambda: "/ray/logs",
        )  # fmt: skip

    def start_control_store(self, port: int = 0) -> None:
        self._store = socket.create_server(("127.0.0.1", port))
        self._port = int(self._store.getsockname()[1])

    def stop_control_store(self) -> int:
        self._store.close()
        return self._port

    def kill_raylet(self, *, joined: bool = True) -> None:
        if joined:
            self._raylet.accept()[0].close()
        self._raylet.close()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(watch, "_lost", watch.threading.Event())
    machine = Machine(tmp_path)
    monkeypatch.setattr(watch.time, "monotonic", lambda: machine.now)
    yield machine
    machine.stop_control_store()


def watching(machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch, *, head: bool = False) -> Watch:
    """A watch that checks only when it is called."""
    monkeypatch.setattr(ray._private.worker, "_global_node", machine.node(folder, head=head))
    return Watch()


def test_a_head_that_restarts_in_time_is_waited_for(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watching(machine, tmp_path, monkeypatch)
    assert watched.check_reachable()
    port = machine.stop_control_store()
    assert not watched.check_reachable()
    machine.now += 39
    assert not watched.check_reachable()
    watched.raise_if_lost()
    machine.start_control_store(port)
    assert watched.check_reachable()
    assert watched.answers


def test_a_head_that_does_not_come_back_is_lost_before_ray_ends_the_driver(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watching(machine, tmp_path, monkeypatch)
    machine.stop_control_store()
    watched.check_reachable()
    machine.now += 41
    watched.check_reachable()
    message = (
        r"lost the Ray cluster at 127.0.0.1:\d+: its control store \(GCS\) has not answered for 41 s; Ray's logs: /ray"
    )
    with pytest.raises(ClusterLost, match=message):
        watched.raise_if_lost()
    assert watch.lost()


def test_a_cluster_that_was_started_here_does_not_restart_its_control_store(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watching(machine, tmp_path, monkeypatch, head=True)
    machine.stop_control_store()
    watched.check_reachable()
    with pytest.raises(ClusterLost, match=r"its control store \(GCS\) does not answer;"):
        watched.raise_if_lost()


def test_a_network_that_fails_for_a_moment_ends_nothing(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    watched = watching(machine, tmp_path, monkeypatch, head=True)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "create_connection", unreachable)
        assert not watched.check_reachable()
        watched.raise_if_lost()
    assert watched.check_reachable()


def test_the_raylet_of_this_machine_is_lost_at_once(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watching(machine, tmp_path, monkeypatch)
    assert watched.check_reachable()
    machine.kill_raylet()
    assert not watched.check_reachable()
    with pytest.raises(ClusterLost, match="the raylet of this machine, through which its driver works, has died"):
        watched.raise_if_lost()


def test_a_raylet_that_died_before_the_first_check_is_lost_too(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.kill_raylet(joined=False)
    watched = watching(machine, tmp_path, monkeypatch)
    assert not watched.check_reachable()
    with pytest.raises(ClusterLost, match="the raylet of this machine"):
        watched.raise_if_lost()


def test_the_process_is_not_ended_while_a_result_is_being_stored(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watching(machine, tmp_path, monkeypatch)
    kept, ended = [False], []
    monkeypatch.setattr(watched, "_end_the_process", lambda: ended.append(kept[0]))
    waits = 0

    def passes(_seconds: float) -> bool:
        nonlocal waits
        waits += 1
        if waits == 3:
            kept[0] = True
            keeping.close()
        return False

    monkeypatch.setattr(watched._left, "wait", passes)
    keeping = contextlib.ExitStack()
    keeping.enter_context(watched.delivering())
    watched._end_unless_left()
    assert ended == [True]

"""The cluster that a driver will join: an invalid address gives one line, within seconds, before Ray starts."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from orchestrator.schedule import address
from orchestrator.schedule.address import ClusterError


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("lokal", "did you mean 'local'?"),
        ("head", "did you mean 'head:6379'?"),
        ("head:", "did you mean 'head:6379'?"),
        (":6379", "did you mean 'HEAD:6379'?"),
        ("head:99999", "did you mean 'head:6379'?"),
        ("head:six", "did you mean 'head:6379'?"),
        ("head:" + "9" * 5000, "did you mean 'head:6379'?"),
        ("a..b:6379", "did you mean "),
        (".:6379", "did you mean "),
        ("h" * 70 + ":6379", "did you mean "),
        ("the head:6379", "did you mean 'thehead:6379'?"),
        ("ray://head:10001", "ray job submit --address http://HEAD:8265 "),
        ("http://head:8265", "ray job submit --address http://head:8265 "),
    ],
)
def test_an_invalid_address_gives_one_line_with_a_hint(given: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", given)
    with pytest.raises(ClusterError) as caught:
        address.checked()
    assert str(caught.value).startswith(f"RAY_ADDRESS: {given!r} is not the address of a Ray cluster")
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["local", ""])
def test_without_an_address_no_cluster_is_joined(given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", given)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert address.checked() is None


@pytest.fixture
def silent() -> Iterator[str]:
    """`host:port` where nothing listens: the port is bound, but not open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def foreign() -> Iterator[str]:
    """`host:port` of a server that is not Ray: it closes every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_where_nothing_answers_is_named_with_the_reason(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", silent)
    message = (
        rf"no Ray cluster answers at {silent}, which RAY_ADDRESS names: Connection refused; RAY_ADDRESS=local starts"
    )
    with pytest.raises(ClusterError, match=message):
        address.check_answers(silent)


def test_another_server_is_not_a_cluster(foreign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "ANSWERS_WITHIN_S", 0.5)
    with pytest.raises(ClusterError, match="the server there is not Ray"):
        address.check_answers(foreign)


def test_another_grpc_server_is_not_a_head() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(ClusterError, match="the server there is not the head of a Ray cluster"):
            address.check_answers(f"127.0.0.1:{port}")
    finally:
        server.stop(None)


@pytest.fixture
def machines_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file in which `ray start` writes its address, in the test's own folder; it does not exist yet."""
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    return file


def test_a_dead_cluster_that_the_machines_file_names_is_reported_with_the_file(
    silent: str, machines_file: Path
) -> None:
    machines_file.write_text(f"{silent.replace('127.0.0.1', '127.1.1.1')}\n")
    with pytest.raises(ClusterError, match=rf"which {machines_file} names: "):
        address.checked()


@pytest.mark.parametrize("held", [b"", b"head", b"\xff\xfe:6379", b"a:b:c", b"127.0.0.1:99999", b"x\ny:6379"])
def test_a_damaged_address_file_gives_one_line_that_names_it(held: bytes, machines_file: Path) -> None:
    machines_file.write_bytes(held)
    with pytest.raises(ClusterError) as caught:
        address.checked()
    assert str(caught.value).startswith(str(machines_file))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_cluster_that_answers_is_joined_without_the_proxy(
    ray_address: str, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    monkeypatch.setenv("http_proxy", f"http://{silent}")
    assert address.checked() == ray_address


def test_tls_without_its_files_gives_one_line(foreign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    for name in ("SERVER_CERT", "SERVER_KEY", "CA_CERT"):
        monkeypatch.delenv(f"RAY_TLS_{name}", raising=False)
    with pytest.raises(ClusterError, match="RAY_TLS_SERVER_CERT"):
        address.check_answers(foreign)


def test_a_sweep_whose_cluster_does_not_answer_ends_with_one_line_and_exit_2(silent: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "{name: s, models: [{name: m, config: {model_type: gpt2}}], precisions: [fp32]}"
    )
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "sweep.yaml"],
        cwd=tmp_path, env=os.environ | {"RAY_ADDRESS": silent}, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "no Ray cluster answers at" in done.stderr

"""Which Ray cluster a driver is about to join, and whether it answers.

This check runs before `ray.init` and takes seconds. Ray itself tries an address where nothing listens for minutes, and
then raises an error of many lines.
"""

import difflib
import os
import re
import socket

import grpc
from ray._private import ray_constants, services
from ray._private.grpc_utils import init_grpc_channel
from ray._private.utils import get_ray_address_file
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from workers.records.errors import JouleGridError
from workers.records.text import one_line

ANSWERS_WITHIN_S = 5.0
"""A cluster that takes longer to answer counts as absent. Unit: s."""

_PORT = 6379
"""The default port of `ray start --head`."""

_OWN = "RAY_ADDRESS=local starts a new cluster on this machine instead"


class ClusterError(JouleGridError):
    """No cluster can be joined or started. The message is one line, and says what to do."""


def checked() -> str | None:
    """`host:port` of the cluster that `ray.init()` will join; null if it will start one on this machine.

    Raises:
        ClusterError: The address is invalid, no cluster answers there, or the cluster has no node on this machine.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    if given not in ("", "auto", "local"):
        parsed(given)
    try:
        address = services.canonicalize_bootstrap_address(given or None)
    except ConnectionError as error:
        raise ClusterError(
            "RAY_ADDRESS=auto, but no Ray cluster runs on this machine: `ray start --head` starts one; " + _OWN
        ) from error
    except (OSError, ValueError) as error:  # the file holds no address, or cannot be read
        raise ClusterError(
            f"{source()} does not name a Ray cluster ({one_line(str(error))}): remove it, or start a cluster with "
            f"`ray start --head`; {_OWN}"
        ) from error
    if address is None:
        return None
    check_answers(address)
    if not services.find_node_ids():
        raise ClusterError(
            f"the Ray cluster at {address} has no node on this machine, and a sweep's driver needs one: "
            f"`ray start --address={address}` adds this machine, `ray job submit` runs the sweep there; {_OWN}"
        )
    return str(address)


def parsed(address: str) -> tuple[str, int]:
    """Host and port of an address as `RAY_ADDRESS` gives it.

    Raises:
        ClusterError: A sweep's driver cannot use it.
    """
    problem = (
        f"{source()}: {address!r} is not the address of a Ray cluster: use HOST:PORT of its head, `auto` or `local`"
    )
    if "://" in address:
        dashboard = address if address.startswith("http") else "http://HEAD:8265"
        raise ClusterError(
            f"{problem}. A sweep's driver runs on a node of its cluster; from elsewhere, submit a job: "
            f"ray job submit --address {dashboard} --working-dir . -- python -m orchestrator SWEEP.yaml"
        )
    host, _, port = address.rpartition(":")
    if not _is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
        words = difflib.get_close_matches(address.strip().lower(), ("auto", "local"), n=1)
        host = "".join(host.split())
        near = words[0] if words else f"{host or address.partition(':')[0] or 'HEAD'}:{_PORT}"
        raise ClusterError(f"{problem}; did you mean {near!r}?")
    return host.strip("[]"), int(port)


def _is_host(name: str) -> bool:
    try:
        return bool(name.encode("idna")) and len(name.split()) == 1  # `socket` encodes names in this way, too
    except UnicodeError:
        return False


def source() -> str:
    """What names the cluster to join: `RAY_ADDRESS`, or the file that `ray start` writes on its machine."""
    by_file = os.environ.get("RAY_ADDRESS", "") in ("", "auto")
    return str(get_ray_address_file(None)) if by_file else "RAY_ADDRESS"


def check_answers(address: str) -> None:
    """Return once a cluster answers at `host:port`.

    Raises:
        ClusterError: None answers within seconds.
    """
    if silence := _silence(address):
        raise ClusterError(f"no Ray cluster answers at {address}, which {source()} names: {silence}; {_OWN}")


def _silence(address: str) -> str | None:
    """Why no cluster answers there; null where one does."""
    try:
        socket.create_connection(parsed(address), timeout=ANSWERS_WITHIN_S).close()
    except OSError as error:
        return error.strerror or str(error)
    try:
        channel = init_grpc_channel(
            address, options=ray_constants.GLOBAL_GRPC_OPTIONS
        )  # as Ray does, this ignores `http_proxy`
    except (OSError, RuntimeError) as error:  # RAY_USE_TLS without its files
        return one_line(str(error))
    try:
        grpc.channel_ready_future(channel).result(timeout=ANSWERS_WITHIN_S)
        heads = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        heads.GetClusterId(gcs_service_pb2.GetClusterIdRequest(), timeout=ANSWERS_WITHIN_S)
    except grpc.FutureTimeoutError:
        return "the server there is not Ray"
    except grpc.RpcError as error:  # a head that requires a token is a head; `ray.init` reports other errors
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return "the server there is not the head of a Ray cluster"
    finally:
        channel.close()
    return None

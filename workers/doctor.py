"""What this machine offers to a sweep, found by trying. `python -m workers.doctor` prints the findings as JSON."""

import json
import os
from collections.abc import Iterator
from importlib import metadata
from typing import Literal

from workers.records import Record

_HUB = "https://huggingface.co"
_HUB_PATIENCE_S = 5.0


class Finding(Record):
    """One thing that was looked at."""

    what: str
    """What was looked at."""
    level: Literal["ok", "missing", "broken"]
    """`ok`; `missing`: a sweep does without, and says so; `broken`: a sweep cannot run, or not as asked."""
    found: str
    """What was found."""
    misses: str | None = None
    """What a sweep would miss."""
    mend: str | None = None
    """How to mend it."""


def findings() -> Iterator[Finding]:
    """Look at everything that measuring depends on. Nothing raises, nothing is changed."""
    yield from _packages()
    yield from _gpus()
    yield _host_energy()
    yield _peak_memory()
    yield _hub()


def _packages() -> Iterator[Finding]:
    import torch

    yield Finding(what="torch", level="ok", found=torch.__version__)
    yield Finding(what="transformers", level="ok", found=metadata.version("transformers"))
    optional = {
        "bitsandbytes": ("int8-bnb and int4-bnb", "pip install 'joulegrid[quantised]'"),
        "torchao": ("int8-torchao and fp8-torchao", "pip install 'joulegrid[quantised]'"),
        "flash-attn": ("attention: flash_attention_2", "pip install flash-attn (CUDA only)"),
    }
    for name, (kinds, mend) in optional.items():
        try:
            yield Finding(what=name, level="ok", found=metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(what=name, level="missing", found="not installed", misses=f"{kinds}: skipped", mend=mend)


def _gpus() -> Iterator[Finding]:
    import torch

    from workers.energy import cards, driver_version

    known = cards()
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not known and not visible:
        yield Finding(what="GPUs", level="missing", found="none", misses="sweeps run on the CPU, without GPU energy")
        return
    if not known:
        mend = "make libnvidia-ml.so.1 visible (in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
        yield Finding(what="NVML", level="missing", found="not to be opened", misses="GPU energy is null", mend=mend)
    if known and not visible:
        mend = f"install a CUDA build of torch that driver {driver_version()} can run; this is {torch.__version__}"
        found = f"NVML knows {len(known)}, torch sees none"
        yield Finding(what="CUDA", level="broken", found=found, misses="device: cuda cannot run", mend=mend)
    for card in known:
        yield _card(card)


def _card(card: object) -> Finding:
    from workers.energy import CardInfo

    assert isinstance(card, CardInfo)
    what = f"GPU {card.name or card.uuid}"
    if card.reason:
        return Finding(what=what, level="missing", found=card.reason, misses="its energy is null")
    if card.mig:
        mend = "nvidia-smi -mig 0, where whole cards are to be measured"
        return Finding(what=what, level="missing", found="split by MIG", misses="its energy is null", mend=mend)
    if card.energy_counter:
        return Finding(what=what, level="ok", found="energy counter")
    power = "instant power" if card.instant_power else "averaged power"
    return Finding(what=what, level="missing", found=power, misses="energy is from power samples: less certain")


def _host_energy() -> Finding:
    from workers.energy import rapl

    try:
        zones = rapl.zones()
    except OSError as error:
        return Finding(what="CPU energy", level="missing", found=str(error), misses="cpu_energy_j is null")
    if not zones:
        return Finding(what="CPU energy", level="missing", found="no RAPL here", misses="cpu_energy_j is null")
    joules, reason = rapl.between(rapl.read(), rapl.read(), "cpu")
    if joules is None:
        mend = "let the worker's user read /sys/class/powercap/*/energy_uj"
        return Finding(what="CPU energy", level="missing", found=str(reason), misses="cpu_energy_j is null", mend=mend)
    return Finding(what="CPU energy", level="ok", found=f"RAPL, {len(zones)} zones")


def _peak_memory() -> Finding:
    if os.access("/proc/self/clear_refs", os.W_OK):
        return Finding(what="peak memory of CPU runs", level="ok", found="/proc/self/clear_refs can be written")
    misses = "peak_memory_mb of CPU runs is null"
    return Finding(what="peak memory of CPU runs", level="missing", found="no /proc/self/clear_refs", misses=misses)


def _hub() -> Finding:
    import urllib.error
    import urllib.request

    # Only whether there is a token: its text never leaves this process.
    token = "with a token" if os.environ.get("HF_TOKEN") else "without a token"
    misses = "hub ids: only models that are in the cache can be had"
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return Finding(what="model hub", level="missing", found="HF_HUB_OFFLINE=1", misses=misses)
    try:
        with urllib.request.urlopen(_HUB, timeout=_HUB_PATIENCE_S):
            return Finding(what="model hub", level="ok", found=f"reached, {token}")
    except (urllib.error.URLError, OSError) as error:
        mend = "use local folders or `config:` models, or set HTTPS_PROXY"
        found = f"{_HUB}: {getattr(error, 'reason', error)}"
        return Finding(what="model hub", level="missing", found=found, misses=misses, mend=mend)


if __name__ == "__main__":
    print(json.dumps([finding.model_dump() for finding in findings()]))

"""What this machine offers to a sweep, by trying it. `python -m workers.machine.doctor` prints the findings as JSON."""

import json
import os
from collections.abc import Iterator
from importlib import metadata

from workers.records import Finding

_HUB = "https://huggingface.co"
_HUB_TIMEOUT_S = 5.0


def findings() -> Iterator[Finding]:
    """Check everything that a measurement depends on. Raises nothing and changes nothing."""
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
        "bitsandbytes": ("precision int8-bnb or int4-bnb", "pip install 'joulegrid[quantised]'"),
        "torchao": ("precision int8-torchao or fp8-torchao", "pip install 'joulegrid[quantised]'"),
        "flash-attn": ("attention flash_attention_2", "pip install flash-attn (CUDA only)"),
    }
    for name, (settings, fix) in optional.items():
        try:
            yield Finding(what=name, level="ok", found=metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(
                what=name, level="missing", found="not installed", misses=f"cells with {settings} are skipped", fix=fix
            )


def _gpus() -> Iterator[Finding]:
    import torch

    from workers.energy import cards, driver_version

    known = cards()
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not known and not visible:
        yield Finding(what="GPUs", level="missing", found="none", misses="sweeps run on the CPU, without GPU energy")
        return
    if not known:
        fix = "make libnvidia-ml.so.1 visible (in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
        yield Finding(what="NVML", level="missing", found="cannot be opened", misses="GPU energy is null", fix=fix)
    if known and not visible:
        fix = f"install a CUDA build of torch that driver {driver_version()} can run; this is {torch.__version__}"
        found = f"NVML finds {len(known)} GPUs, torch finds none"
        yield Finding(what="CUDA", level="broken", found=found, misses="device: cuda cannot run", fix=fix)
    for card in known:
        yield _card(card)


def _card(card: object) -> Finding:
    from workers.energy import CardInfo

    assert isinstance(card, CardInfo)
    what = f"GPU {card.name or card.uuid}"
    if card.reason:
        return Finding(what=what, level="missing", found=card.reason, misses="its energy is null")
    if card.mig:
        fix = "nvidia-smi -mig 0, to measure whole cards"
        return Finding(what=what, level="missing", found="split by MIG", misses="its energy is null", fix=fix)
    if card.energy_counter:
        return Finding(what=what, level="ok", found="energy counter")
    power = "instant power" if card.instant_power else "averaged power"
    return Finding(
        what=what, level="missing", found=power, misses="energy is from power samples, which is less certain"
    )


def _host_energy() -> Finding:
    from workers.energy import rapl

    try:
        zones = rapl.zones()
    except OSError as error:
        return Finding(what="CPU energy", level="missing", found=str(error), misses="cpu_energy_j is null")
    if not zones:
        return Finding(what="CPU energy", level="missing", found="no RAPL", misses="cpu_energy_j is null")
    joules, reason = rapl.between(rapl.read(), rapl.read(), "cpu")
    if joules is None:
        fix = "let the worker's user read /sys/class/powercap/*/energy_uj"
        return Finding(what="CPU energy", level="missing", found=str(reason), misses="cpu_energy_j is null", fix=fix)
    return Finding(what="CPU energy", level="ok", found=f"RAPL, {len(zones)} zones")


def _peak_memory() -> Finding:
    if os.access("/proc/self/clear_refs", os.W_OK):
        return Finding(what="peak memory of CPU runs", level="ok", found="/proc/self/clear_refs is writable")
    misses = "peak_memory_mb of CPU runs is null"
    return Finding(what="peak memory of CPU runs", level="missing", found="no /proc/self/clear_refs", misses=misses)


def _hub() -> Finding:
    import urllib.error
    import urllib.request

    # Reports only whether there is a token, never its text.
    token = "with a token" if os.environ.get("HF_TOKEN") else "without a token"
    misses = "of the hub's models, only cached ones can run"
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return Finding(what="model hub", level="missing", found="HF_HUB_OFFLINE=1", misses=misses)
    try:
        with urllib.request.urlopen(_HUB, timeout=_HUB_TIMEOUT_S):
            return Finding(what="model hub", level="ok", found=f"reachable, {token}")
    except (urllib.error.URLError, OSError) as error:
        fix = "use local folders or `config:` models, or set HTTPS_PROXY"
        found = f"{_HUB}: {getattr(error, 'reason', error)}"
        return Finding(what="model hub", level="missing", found=found, misses=misses, fix=fix)


if __name__ == "__main__":
    print(json.dumps([finding.model_dump() for finding in findings()]))

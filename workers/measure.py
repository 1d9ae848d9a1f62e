"""Measure one run: load, warm up, window, figures. The process that measures is never instrumented for FLOPs."""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from workers import prompts
from workers.energy import EnergyMeter, idle
from workers.engines.transformers import (
    Generator,
    LoadedModel,
    attention_used,
    encoder,
    load,
    memory,
    precision_metadata,
    random_ids,
)
from workers.engines.transformers.quality import perplexity
from workers.gang import agreement
from workers.latency import inference_metrics
from workers.machine import environment, process_state
from workers.records import (
    PRECISION_SPECS,
    Cell,
    ComputeMetrics,
    InferenceMetrics,
    QualityMetrics,
    RandomPrompts,
    RawProcessResult,
    Run,
    Texts,
)
from workers.records.errors import PromptError, UnsupportedError, one_line
from workers.warmup import warm_up
from workers.window import MeasuredWindow, measure_window

_MAY_STAY_BYTES = 1_000_000
"""GPU memory that libraries may keep after their first call: rotary tables, workspaces of quantisers."""
_HOST_MAY_STAY_BYTES = 300_000_000
"""Host memory that a process may keep besides its model: imported libraries (quantisers: 75 MB), a tokenizer."""


class Measurer:
    """Measures runs one after the other in one process, and keeps the model between runs that can share it.

    Args:
        cpu_threads: Threads that torch computes with on a CPU; None: one per physical core that the process may run on.
            It is always set explicitly, because Ray starts its workers with OMP_NUM_THREADS=1.
    """

    def __init__(self, *, cpu_threads: int | None = None) -> None:
        torch.set_num_threads(cpu_threads or environment.physical_cores())
        self.loaded: LoadedModel | None = None
        self._load_key: str | None = None
        self._qualities: dict[str, QualityMetrics] = {}
        self._meters: dict[tuple[int, ...], EnergyMeter] = {}
        self._bytes_before = 0
        self._bytes_held = 0
        self._state: process_state.ProcessState | None = None
        self._resident_bytes: int | None = None

    def measure(
        self,
        run: Run,
        *,
        texts: Texts,
        rank: int = 0,
        barrier: Callable[[], None] | None = None,
        prior_runs: int,
    ) -> RawProcessResult:
        """Measure one run of one rank.

        Args:
            run: What to measure.
            texts: The texts of the prompt and quality files that the cell names.
            rank: 0-based process of the run; it takes its own rows of the batch.
            barrier: Returns once every rank of the run has called it, so that the windows begin together.
            prior_runs: Number of runs that this process had done before.

        Raises:
            Exception: a `MeasureError`, or what torch and transformers raise; `workers.failures` tells what it means.
        """
        if self._state is None:
            self._state, self._resident_bytes = process_state.observe(), memory.resident_bytes()
        cell = run.cell
        loaded, reused = self._model_for(cell)
        memory.trim()
        agree = agreement.agreement(cell)
        gpus = memory.gpus_of(loaded.model)
        meter = self._meter(gpus)
        # The model is loaded and nothing runs yet. A new model may change the idle power, so it is measured again.
        meter.measure_idle(max_age_s=idle.MAX_AGE_S if reused else 0.0)
        batch = _prompts(cell, loaded, texts, rank)
        generator = Generator(loaded, batch, output_tokens=cell.output_tokens, options=cell.generate)
        torch.manual_seed(run.repeat)  # only matters for cells that sample
        warmup = warm_up(lambda: generator.once().e2e_s, cell.warmup, agree=agree)
        peak, synchronize = memory.PeakMemory(gpus), partial(_synchronize, gpus)
        window = measure_window(
            generator.once, cell.window, meter=meter, peak=peak, synchronize=synchronize, barrier=barrier, agree=agree
        )
        return RawProcessResult(
            cell_id=cell.cell_id,
            repeat=run.repeat,
            rank=rank,
            pid=os.getpid(),
            prior_runs=prior_runs,
            model_reused=reused,
            load_s=loaded.load_s,
            window_start_unix_s=window.start_unix_s,
            window_end_unix_s=window.end_unix_s,
            window_opened_after_barrier_s=window.opened_after_barrier_s,
            measured_batch_size=len(batch.input_ids),
            attention_used=attention_used(loaded),
            warmup=warmup,
            inference_metrics=_inference(cell, batch, generator, window),
            energy_metrics=window.energy,
            compute_metrics=_memory_metrics(window.peak, loaded.model),
            precision_metadata=precision_metadata(loaded.model),
            quality=self._quality(cell, loaded, texts),
            environment=environment.describe(gpus, quantiser=PRECISION_SPECS[cell.precision].quantiser),
        )

    def release(self) -> None:
        """Drop the model. `changes()` then reports memory that was not freed."""
        if self.loaded is not None:
            self.loaded = None
            gc.collect()  # models contain reference cycles, and the next model needs the memory
        self._load_key = None
        self._qualities = {}
        self._bytes_held = self._bytes_before

    def changes(self) -> tuple[str, ...]:
        """Descriptions of what changed in the process since its first run; empty: it can measure another run.

        The memory of the loaded model does not count: on GPUs what was allocated with it, on the host its size.
        """
        if self._state is None:
            return ()
        return (*process_state.changes(self._state, process_state.observe()), *self._memory_kept())

    def _memory_kept(self) -> Iterator[str]:
        if torch.cuda.is_initialized():  # host memory is then no figure, and CUDA's own share of it grows
            more = memory.allocated_bytes() - self._bytes_held
            if more > _MAY_STAY_BYTES:
                yield f"GPU memory: {more / memory.MB:,.0f} MB more"
            return
        if self._host_growth() > _HOST_MAY_STAY_BYTES:
            gc.collect()
            memory.trim()
        more = self._host_growth()
        if more > _HOST_MAY_STAY_BYTES:
            yield f"host memory: {more / memory.MB:,.0f} MB more"

    def _host_growth(self) -> int:
        """Resident bytes beyond those before the first run and those of the loaded model; 0 if unknown."""
        now = memory.resident_bytes()
        if now is None or self._resident_bytes is None:
            return 0
        model = memory.model_bytes(self.loaded.model) if self.loaded else 0
        return now - self._resident_bytes - model

    def _model_for(self, cell: Cell) -> tuple[LoadedModel, bool]:
        """The cell's model, and whether it was already loaded."""
        if self.loaded is not None and self._load_key == cell.load_key:
            return self.loaded, True
        self.release()
        self._bytes_before = self._bytes_held = memory.allocated_bytes()
        self.loaded = load(cell)
        self._load_key = cell.load_key
        self._bytes_held = memory.allocated_bytes()
        return self.loaded, False

    def _meter(self, gpus: tuple[int, ...]) -> EnergyMeter:
        """The meter of these GPUs. It is kept, as it learns the counters' periods and the idle power."""
        if gpus not in self._meters:
            uuids = [environment.gpu_uuid(index) for index in gpus]
            self._meters[gpus] = EnergyMeter(uuids, synchronize=partial(_synchronize, gpus))
        self._meters[gpus].own_pids.update(agreement.pids())
        return self._meters[gpus]

    def _quality(self, cell: Cell, loaded: LoadedModel, texts: Texts) -> QualityMetrics:
        """The perplexity. It depends only on model and text, so cells and repeats with the same two share it."""
        if cell.quality is None:
            return QualityMetrics(perplexity_reason="not requested")
        key = cell.quality.model_dump_json()
        if key not in self._qualities:
            try:
                text = "\n\n".join(_texts(texts, cell.quality.sha256, cell.quality.file))
                self._qualities[key] = perplexity(loaded.model, encoder(loaded)(text), cell.quality)
            except Exception as error:  # the window is already measured, and counts without a perplexity
                return QualityMetrics(perplexity_reason=one_line(error))
        return self._qualities[key]


def _inference(cell: Cell, batch: prompts.Prompts, generator: Generator, window: MeasuredWindow) -> InferenceMetrics:
    return inference_metrics(
        window.generations,
        rows=generator.rows,
        output_tokens=cell.output_tokens,
        prompt_tokens=batch.tokens,
        window_s=window.window_s,
        time_uncertainty=window.time_uncertainty,
        timing_method=generator.clock.method,
        not_timed=generator.not_timed,
    )


def _memory_metrics(peak: memory.Peak, model: Any) -> ComputeMetrics:
    """Memory of the window; the driver adds the FLOPs (`orchestrator.costs.utilisation`)."""
    peak_mb, method, reason = peak
    return ComputeMetrics(
        peak_memory_mb=peak_mb,
        peak_memory_reason=reason,
        memory_method=method,
        model_memory_mb=memory.model_bytes(model) / memory.MB,
    )


def _synchronize(gpus: Sequence[int]) -> None:
    for index in gpus:
        torch.cuda.synchronize(index)


def _prompts(cell: Cell, loaded: LoadedModel, texts: Texts, rank: int) -> prompts.Prompts:
    """This rank's rows of the batch, which is the same for any number of ranks."""
    if cell.batch_size % cell.processes:
        raise UnsupportedError(
            f"batch_size {cell.batch_size} cannot be divided evenly among {cell.processes} processes"
        )
    share = cell.batch_size // cell.processes
    if isinstance(cell.prompts, RandomPrompts):
        batch = prompts.random_prompts(
            rows=cell.batch_size, length=cell.input_tokens, seed=cell.prompts.seed, **random_ids(loaded)
        )
    else:
        batch = prompts.text_prompts(
            _texts(texts, cell.prompts.sha256, cell.prompts.file),
            encode=encoder(loaded),
            rows=cell.batch_size,
            length=cell.input_tokens,
            pad_id=loaded.model.generation_config.pad_token_id or 0,
        )
    first = rank // cell.tensor_parallel * share
    return batch.rows(first, first + share)


def _texts(texts: Texts, sha256: str, file: str) -> Sequence[str]:
    if sha256 not in texts:
        raise PromptError(f"the texts of {file!r} (sha256 {sha256[:12]}...) were not sent to this process")
    return texts[sha256]

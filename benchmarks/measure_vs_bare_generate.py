"""Do the figures of a cell agree with a bare `model.generate`, and TTFT, ITL and TPOT with a hand-written loop?

Three ways to time the same model, prompts and number of tokens, alternating in one process, so that other load on the
machine affects all of them equally:

1. a run of `workers.measure.Measurer`, as in a sweep;
2. `model.generate` in a plain loop between two readings of the clock (tokens/s);
3. a hand-written loop of prefill and decode steps, greedy, with a KV cache (TTFT, ITL, TPOT).

    python benchmarks/measure_vs_bare_generate.py
    python benchmarks/measure_vs_bare_generate.py --turns 20 --layers 4 --hidden 512

Every figure should agree within 2 %. The hand-written loop omits what `generate` does around the model (a fraction of a
millisecond per token), so the model must not be tiny: the default has about 200 million parameters.
"""

import argparse
import statistics
import time
from itertools import pairwise
from typing import Any

import torch
from transformers import DynamicCache

from workers.engines.transformers import random_ids
from workers.measure import Measurer
from workers.prompts import random_prompts
from workers.records import Cell, ModelSpec, RawProcessResult, Run, Warmup, Window

GENERATIONS = 1  # per turn: in short turns the load of the machine changes little


def cell(args: argparse.Namespace) -> Cell:
    """The cell for the arguments."""
    heads = args.hidden // 64
    config = {
        "model_type": "llama",
        "num_hidden_layers": args.layers,
        "hidden_size": args.hidden,
        "intermediate_size": 4 * args.hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "vocab_size": 8192,
    }
    return Cell.model_validate(
        {
            "model": ModelSpec(name="llama", config=config),
            "precision": "fp32",
            "device": args.device,
            "batch_size": 2,
            "input_tokens": 64,
            "output_tokens": args.tokens,
            "warmup": Warmup(floor=1),
            "window": Window(min_generations=GENERATIONS, max_generations=GENERATIONS),
        }
    )


def synchronize(model: Any) -> None:
    """Wait for the device."""
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def bare(model: Any, prompts: dict[str, Any], tokens: int) -> float:
    """Tokens/s of a plain loop around `generate`."""
    synchronize(model)
    begin = time.perf_counter()
    for _ in range(GENERATIONS):
        output = model.generate(**prompts, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
    synchronize(model)
    new = output.shape[1] - prompts["input_ids"].shape[1]
    return GENERATIONS * len(output) * new / (time.perf_counter() - begin)


@torch.no_grad()
def by_hand(model: Any, prompts: dict[str, Any], tokens: int) -> dict[str, float]:
    """Time to the first token and per later one, of a greedy loop with a cache, without `generate`. Unit: s."""
    mask, cache = prompts["attention_mask"], DynamicCache(config=model.config)
    ids, times = prompts["input_ids"], []
    synchronize(model)
    begin = time.perf_counter()
    for _ in range(tokens):
        logits = model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1
        ).logits
        ids = logits[:, -1].float().argmax(-1, keepdim=True)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        synchronize(model)
        times.append(time.perf_counter() - begin)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return {"TTFT": times[0], "ITL": statistics.fmean(gaps), "TPOT": (times[-1] - times[0]) / (tokens - 1)}


def figures(result: RawProcessResult) -> dict[str, float]:
    """The figures that a sweep would report."""
    metrics = result.inference_metrics
    assert metrics.ttft and metrics.itl and metrics.tpot  # noqa: PT018 - all or none
    return {
        "tokens/s": metrics.output_tokens_per_s,
        "TTFT": metrics.ttft.mean_s,
        "ITL": metrics.itl.mean_s,
        "TPOT": metrics.tpot.mean_s,
    }


def main() -> None:
    """Print a row per figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=1280)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, help="threads for torch; use fewer than cores if other programs run")
    args = parser.parse_args()
    run, measurer = Run(cell=cell(args), repeat=0), Measurer(cpu_threads=args.threads)
    measured: list[dict[str, float]] = []
    reference: list[dict[str, float]] = []
    measurer.measure(run, texts={}, prior_runs=0)  # loads and warms up
    loaded = measurer.loaded
    assert loaded is not None
    batch = random_prompts(rows=2, length=64, seed=0, **random_ids(loaded)).to(loaded.device)
    prompts = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}

    def ours(turn: int) -> None:
        measured.append(figures(measurer.measure(run, texts={}, prior_runs=turn)))

    def theirs(_: int) -> None:
        plain = {"tokens/s": bare(loaded.model, prompts, args.tokens)}
        reference.append(plain | by_hand(loaded.model, prompts, args.tokens))

    for turn in range(args.turns):
        for measure in (ours, theirs) if turn % 2 else (theirs, ours):  # alternate the order
            measure(turn)
    print(f"{'':10} {'reference':>12} {'measured':>12} {'ratio':>8}   median ratio of the turns")
    for name in measured[0]:
        columns = [[turn[name] for turn in turns] for turns in (measured, reference)]
        a, b = map(statistics.median, columns)
        by_turn = statistics.median(x / y for x, y in zip(*columns, strict=True))
        print(f"{name:10} {b:12.5f} {a:12.5f} {a / b:8.4f}   {by_turn:.4f}")


if __name__ == "__main__":
    main()

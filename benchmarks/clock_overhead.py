"""Overhead of the token clock: `generate` with and without it, alternating in one process.

The clock should add less than 1 % to the window. Its cost per token is constant, so the smallest model is the worst
case: the first row is an unrealistically small model, and the last one is still small.

    python benchmarks/clock_overhead.py
    python benchmarks/clock_overhead.py --turns 400     # less noise
    python benchmarks/clock_overhead.py --device cuda

Besides the two medians it prints the clock's own time, measured alone: the rest of the difference is noise.
"""

import argparse
import statistics
import time
from typing import Any

import torch

from workers.engines.transformers import Generator, load, random_ids
from workers.machine.environment import physical_cores
from workers.prompts import random_prompts
from workers.records import Cell, ModelSpec

SIZES = {"2 layers of 64": (2, 64), "4 layers of 256": (4, 256), "8 layers of 512": (8, 512)}
TOKENS = 16


def config(layers: int, hidden: int) -> dict[str, Any]:
    """The config of a Llama of this size."""
    heads = max(1, hidden // 64)
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "vocab_size": 4096,
    }


def compare(layers: int, hidden: int, *, turns: int, device: str) -> tuple[float, float, float]:
    """Median seconds of a generation without and with the clock, and of the clock alone."""
    spec = ModelSpec(name="llama", config=config(layers, hidden))
    loaded = load(Cell.model_validate({"model": spec, "precision": "fp32", "device": device}))
    prompts = random_prompts(rows=1, length=32, seed=0, **random_ids(loaded))
    generator = Generator(loaded, prompts, output_tokens=TOKENS, options={})
    ids, mask = (tensor.to(loaded.device) for tensor in (prompts.input_ids, prompts.attention_mask))
    bare: list[float] = []
    clocked: list[float] = []
    for turn in range(turns + 5):
        begin = time.perf_counter()
        loaded.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0
        )
        middle = time.perf_counter()
        generator.once()
        end = time.perf_counter()
        if turn >= 5:  # the first 5 turns warm up
            bare.append(middle - begin)
            clocked.append(end - middle)
    return statistics.median(bare), statistics.median(clocked), alone(generator)


def alone(generator: Generator, rounds: int = 200) -> float:
    """Time of the clock itself in one generation, with one tensor operation per token. Unit: s."""
    clock = generator.clock
    done = clock(None, None)
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        clock.start()
        for _ in range(TOKENS):
            done | clock(None, None)
        clock.stop()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def main() -> None:
    """Print a row per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--threads", type=int, default=physical_cores(), help="threads for torch; use fewer if other programs run"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{'model':18} {'bare':>10} {'clocked':>10} {'difference':>11} {'clock alone':>12}")
    for name, (layers, hidden) in SIZES.items():
        bare, clocked, clock = compare(layers, hidden, turns=args.turns, device=args.device)
        print(
            f"{name:18} {bare * 1e3:7.2f} ms {clocked * 1e3:7.2f} ms {clocked / bare - 1:+10.2%} {clock / bare:11.3%}"
        )


if __name__ == "__main__":
    main()

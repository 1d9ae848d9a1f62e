"""Errors of several ways to count an inference, for the decoder architectures of transformers.

For each architecture, the script counts a real `generate` of a tiny model with random weights (batch 2, 12 + 5 tokens,
eager attention and eager experts, on the CPU) at the dispatcher. It compares our verdict, calflops as in its README
(`calculate_flops(model, kwargs=..., forward_mode="generate")` with the model's default attention), and 2 x parameters x
tokens. The table in docs/flops.md is the output of this script:

    python benchmarks/flops_table.py > table.md
    python benchmarks/flops_table.py llama mixtral     # only these
"""

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from testbed.reality import SHAPE, compared, keeps_its_promise, model, prompts
from testbed.tiny import NOT_TINY, tiny

TOKENS = SHAPE.batch_size * (SHAPE.input_tokens + SHAPE.output_tokens - 1)


def calflops_as_called(model_type: str) -> float | None:
    """FLOPs by calflops as in its README; in a fork, because it may leave torch patched. None if it raises."""
    answer, ours = os.pipe()
    if (child := os.fork()) == 0:
        try:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123 - a device
                os.write(ours, str(_calflops(model_type)).encode())
        finally:
            os._exit(0)
    os.close(ours)
    os.waitpid(child, 0)
    with os.fdopen(answer) as pipe:
        text = pipe.read()
    return float(text) if text else None


def _calflops(model_type: str) -> float:
    from calflops import calculate_flops

    real = model(tiny(model_type), attention=None)
    real.generation_config.update(
        max_new_tokens=SHAPE.output_tokens, eos_token_id=None, pad_token_id=0, do_sample=False
    )
    flops, _, _ = calculate_flops(
        model=real, kwargs=vars(prompts(SHAPE)), forward_mode="generate", print_results=False, output_as_string=False
    )
    return float(flops)


def main() -> None:
    """Print the table, row by row."""
    torch.set_num_threads(1)  # a fork does not inherit a thread pool
    transformers.logging.set_verbosity_error()
    model_types = sys.argv[1:] or sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(NOT_TINY))
    print("| architecture | executed | ours | method | confidence | calflops as called | 2 x params x tokens |")
    print("|---|---:|---:|---|---|---:|---:|")
    ran, kept, low = 0, 0, 0
    for name in model_types:
        try:
            with redirect_stdout(sys.stderr):  # some models print
                real, cost = compared(name)
        except Exception as error:
            print(f"| {name} | no real run: {' '.join(str(error).split())[:60]} | | | | | |", flush=True)
            continue
        ran += 1
        kept += keeps_its_promise(real, cost)
        low += cost.flops.confidence == "low"
        others = (calflops_as_called(name), 2.0 * cost.parameters * TOKENS)
        print(
            f"| {name} | {real / 1e6:.3f} M | {_off(cost.flops.value, real)} | {cost.flops.method} "
            f"| {cost.flops.confidence} | {' | '.join(_off(other, real) for other in others)} |",
            flush=True,
        )
    print(f"\n{kept} of {ran} keep the promise of their confidence; {low} are low.")
    versions = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    print(f"Made with {versions}. Not compared with a real run, because there is no tiny model:")
    print("; ".join(f"{name} ({why})" for name, why in NOT_TINY.items()) + ".")


def _off(value: float | None, real: float) -> str:
    return "raises" if value is None else f"{value / real - 1:+.1%}"


if __name__ == "__main__":
    main()

"""The Python API: a sweep from Python, its results as a table.

Run it as a script, or cell by cell in an editor or notebook that knows `# %%`. It measures two cells of a tiny model on
the CPU, in half a minute; nothing is downloaded.

python examples/api.py
"""

# %%
import orchestrator

# %% The keys are those of a sweep file (docs/sweep-file.md); a path to one does as well.
sweep = {
    "name": "from-python",
    "models": [
        {
            "name": "tiny-llama",
            "config": {
                "model_type": "llama", "vocab_size": 1024, "hidden_size": 128, "intermediate_size": 352,
                "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
            },
        }
    ],
    "precisions": ["fp32", "bf16"],
    "axes": {"input_tokens": 32, "output_tokens": 8},
    "device": "cpu",
    "repeats": 3,
    "window": {"max_s": 0.5, "relative_uncertainty": 0.05},
}  # fmt: skip

# %% Run it, or what is left of it: measured runs are never measured again. A cell that fails is a row, no exception.
results = orchestrator.run(sweep)

# %% One row per cell, as an Arrow table; `.to_pandas()` and `.to_polars()` have the same.
for row in results.results.to_pylist():
    if row["status"] != "ok":
        print(row["model"], row["precision"], row["status"], row["error_message"])
        continue
    print(
        f"{row['model']} {row['precision']}: {row['output_tokens_per_s']:,.0f} tokens/s, "
        f"{row['flops_value'] / 1e6:.1f} MFLOP by {row['flops_method']}, confidence {row['flops_confidence']}"
    )

# %% What a column means stands in the file itself.
field = results.results.schema.field("output_tokens_per_s")
print(f"{field.name}: {field.metadata[b'description'].decode()}")

# %% Later, or on another machine: the folder is all it takes. `raw` has a row per process and repeat.
again = orchestrator.load(results.path)
print(f"{again.results.num_rows} cells, {again.raw.num_rows} runs in {again.path}")

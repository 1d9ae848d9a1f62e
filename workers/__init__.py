"""The code that runs on the GPU's node: load a model, measure it, report it. Never imports `orchestrator`."""

"""What runs beside the GPU: load a model, measure it, report it. Never imports `orchestrator`."""

"""What tests and benchmarks share: simulated NVML, tiny models, made-up sweeps and clusters."""

"""The nightly gate: what got worse between two snapshots, or over many, and how certain that is.

A snapshot is the results of one sweep. Data flows one way: Parquet -> `snapshot` (each cell's figures) -> `gate` (two
snapshots) or `history` (many) -> `verdicts` (records) -> `plain`, `markdown` or JSON. `noise` and `changes` hold the
statistics and know nothing of cells. `figures` lists the figures and the conditions that must match. Maths:
`docs/nightly.md`.
"""

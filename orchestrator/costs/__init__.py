"""The cost of a cell before it is measured: FLOPs, memory, time, and the limits of each card.

Nothing here loads torch; only the process in `counting` does.
"""

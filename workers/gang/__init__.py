"""The ranks of one run: how they connect, and how they decide together."""

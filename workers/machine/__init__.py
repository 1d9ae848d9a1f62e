"""The machine and the process that measure: what they are, what they lack, what a run left changed."""

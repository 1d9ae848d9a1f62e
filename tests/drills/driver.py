"""`python -m orchestrator`, with a stand-in for what measures: a program for drills to kill."""

import sys

from equipment import StandIn, not_estimated

from orchestrator.__main__ import program

sys.exit(program(sys.argv[1:], make=StandIn, estimate=not_estimated))

"""`python -m orchestrator`, with a stand-in for what measures: a program for drills to kill."""

import sys

from equipment import StandIn, not_estimated

from orchestrator.__main__ import main

sys.exit(main(sys.argv[1:], make=StandIn, estimate=not_estimated))

#!/usr/bin/env bash
# The long form of the fault tests: a seeded random schedule for so many minutes, then the full counts.
#   tests/soak/run.sh VENV [SEED] [MINUTES]
# The same seed gives the same events in the same order, as far as the servers' own timing allows.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$1 seed=${2:-$RANDOM} minutes=${3:-60}
echo "seed $seed, $minutes minutes; again: make soak SEED=$seed MINUTES=$minutes"
export KILLSWITCH_TEST_SEED=$seed KILLSWITCH_TEST_MINUTES=$minutes KILLSWITCH_TEST_THOROUGH=1
"$venv/bin/pytest" -s -q tests/faults/test_schedule.py
"$venv/bin/pytest" -s -q --timeout=7200 tests/faults/test_killed_and_stopped.py tests/faults/test_explorer.py
"$venv/bin/pytest" -s -q --timeout=1200 tests/faults/test_metric_store.py -k "is_down"
"$venv/bin/pytest" -q tests/unit/controller/test_controller.py -k "virtual_cycles_leave_memory_flat"

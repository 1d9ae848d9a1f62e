#!/bin/sh
# Runs a sweep as a KubeRay job. KubeRay retries a job in a new cluster. `{date}` in `out` must then still be the date
# on which the job began, or the retry would measure everything again in another folder. The date is stored on the
# volume of the weights.
#   sh job.sh sweep.yaml
set -eu
# KubeRay names the cluster of each try JOB-xxxxx.
kept="$HF_HOME/joulegrid-jobs/${RAY_CLUSTER_NAME%-*}"
mkdir -p "${kept%/*}"
[ -s "$kept" ] || date +%F > "$kept"
JOULEGRID_DATE=$(cat "$kept")
export JOULEGRID_DATE
exec python -m orchestrator "$@"

#!/bin/sh
# A backfill from start to end: `backfill.sh overlays/aws/backfill`, with kubectl set to the cluster. Or
# `backfill.sh backfill.yaml`, with what `helm template` made of the chart's backfill. NAMESPACE and NAME are the
# release's, where they are not `metaferry`.
#
# Takes the jobs of an earlier one away, applies the new ones, and lets plan, shards and finish follow
# each other. The schedule is suspended meanwhile, since its runs would only wait for the lease, and resumed
# at the end, unless it was suspended before. The backfill may be ended and started again at any time: the
# plan is made anew, and what is in place is kept.
#
# Exits with the code of `metaferry finish`, with that of the step that stopped it, or with 1 when somebody
# deletes one of its jobs.
set -eu

program=backfill
again="start the backfill again"
. "$(dirname "$0")/../jobs.sh"

jobs=${1:?usage: backfill.sh OVERLAY, such as overlays/aws/backfill, or the file of what helm template made}

# The schedule bears a mark while a backfill holds it back, so that one that was killed and is started again
# knows whose the suspension is.
mark=metaferry/suspended-by
suspend_schedule() {
    k patch cronjob "$name" --type merge \
        --patch "{\"metadata\":{\"annotations\":{\"$mark\":$2}},\"spec\":{\"suspend\":$1}}" >/dev/null
}

# "true" and nothing else: somebody suspended the schedule, and it stays so.
before=$(k get cronjob "$name" --ignore-not-found \
    -o "jsonpath={.spec.suspend} {.metadata.annotations.metaferry/suspended-by}")

say "taking away the jobs of an earlier backfill"
k delete job --ignore-not-found --wait=true "$name-plan" "$name-shards" "$name-finish" >/dev/null
say "applying $jobs"
if [ -f "$jobs" ]; then
    kubectl apply --filename "$jobs" >/dev/null
else
    kubectl apply --kustomize "$jobs" >/dev/null
fi
case $before in
    "true ") say "the schedule is suspended already, and stays so"; trap 'suspend_schedule true null' EXIT ;;
    *) trap 'suspend_schedule false null' EXIT ;;
esac
trap 'exit 130' INT
trap 'exit 143' TERM
case $before in
    "true ") suspend_schedule true null ;;
    *) suspend_schedule true '"backfill"' ;;
esac

say "planning"
ended "$name-plan"
code=$(code_of "$name-plan")
case $code in
    0) ;;
    3) say "planned; some rows were rejected (exit code 3), the others go on" ;;
    *) logs_of "$name-plan"; say "the plan ended with $code: nothing was written"; exit "$code" ;;
esac

say "writing documents"
k patch job "$name-shards" --patch '{"spec":{"suspend":false}}' >/dev/null
ended "$name-shards"
failed=$(k get job "$name-shards" -o 'jsonpath={.status.failedIndexes}')
[ -z "$failed" ] || { logs_of "$name-shards"; say "failed: the shards of $failed; finish says what is missing"; }

say "finishing"
k patch job "$name-finish" --patch '{"spec":{"suspend":false}}' >/dev/null
ended "$name-finish"
code=$(code_of "$name-finish")
logs_of "$name-finish"
say "finish ended with $code"
exit "$code"

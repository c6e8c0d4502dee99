#!/bin/sh
# A backfill from start to end: `backfill.sh overlays/aws/backfill`, with kubectl set to the cluster.
#
# Takes the jobs of an earlier one away, applies the overlay, and lets plan, shards and finish follow
# each other. The schedule is suspended meanwhile, since its runs would only wait for the lease. It may be
# ended and started again at any time: the plan is made anew, and what is in place is kept.
#
# Exits with the code of `metaferry finish`, or with that of the step that stopped it.
set -eu

overlay=${1:?usage: backfill.sh OVERLAY, such as overlays/aws/backfill}
namespace=${NAMESPACE:-metaferry}
# Seconds that one look at the cluster may wait for a change.
look=${LOOK:-30}

k() { kubectl --namespace "$namespace" "$@"; }
say() { printf 'backfill: %s\n' "$*" >&2; }

# Waits until a job has ended, whichever way. A cluster that does not answer is asked again later.
ended() {
    until k wait --for=condition=Complete --timeout="${look}s" "job/$1" >/dev/null 2>&1; do
        if state=$(k get job "$1" -o 'jsonpath={.status.conditions[?(@.status=="True")].type}'); then
            case " $state " in *" Failed "*) return ;; esac
        else
            sleep "$look"
        fi
    done
}

# The exit code of a job's last pod to end, 1 where none tells.
code_of() {
    codes=$(k get pods --selector="batch.kubernetes.io/job-name=$1" --sort-by=.metadata.creationTimestamp \
        -o 'jsonpath={range .items[*]}{.status.containerStatuses[0].state.terminated.exitCode}{"\n"}{end}')
    code=$(printf '%s\n' "$codes" | grep . | tail -n 1 || true)
    printf '%s\n' "${code:-1}"
}

logs_of() { k logs --tail=40 --selector="batch.kubernetes.io/job-name=$1" >&2 || true; }

suspend_schedule() { k patch cronjob metaferry --patch "{\"spec\":{\"suspend\":$1}}" >/dev/null; }

say "taking away the jobs of an earlier backfill"
k delete job --ignore-not-found --wait=true metaferry-plan metaferry-shards metaferry-finish >/dev/null
say "applying $overlay"
kubectl apply --kustomize "$overlay" >/dev/null
trap 'suspend_schedule false' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
suspend_schedule true

say "planning"
ended metaferry-plan
code=$(code_of metaferry-plan)
case $code in
    0) ;;
    3) say "planned; some rows were rejected (exit code 3), the others go on" ;;
    *) logs_of metaferry-plan; say "the plan ended with $code: nothing was written"; exit "$code" ;;
esac

say "writing documents"
k patch job metaferry-shards --patch '{"spec":{"suspend":false}}' >/dev/null
ended metaferry-shards
failed=$(k get job metaferry-shards -o 'jsonpath={.status.failedIndexes}')
[ -z "$failed" ] || { logs_of metaferry-shards; say "failed: the shards of $failed; finish says what is missing"; }

say "finishing"
k patch job metaferry-finish --patch '{"spec":{"suspend":false}}' >/dev/null
ended metaferry-finish
code=$(code_of metaferry-finish)
logs_of metaferry-finish
say "finish ended with $code"
exit "$code"

#!/bin/sh
# A backfill from start to end: `backfill.sh overlays/aws/backfill`, with kubectl set to the cluster.
#
# Takes the jobs of an earlier one away, applies the overlay, and lets plan, shards and finish follow
# each other. The schedule is suspended meanwhile, since its runs would only wait for the lease, and resumed
# at the end, unless it was suspended before. The backfill may be ended and started again at any time: the
# plan is made anew, and what is in place is kept.
#
# Exits with the code of `metaferry finish`, with that of the step that stopped it, or with 1 when somebody
# deletes one of its jobs.
set -eu

overlay=${1:?usage: backfill.sh OVERLAY, such as overlays/aws/backfill}
namespace=${NAMESPACE:-metaferry}
# Seconds that one look at the cluster may wait for a change.
look=${LOOK:-30}

k() { kubectl --namespace "$namespace" "$@"; }
say() { printf 'backfill: %s\n' "$*" >&2; }

# Waits until a job has ended, whichever way. A cluster that does not answer is asked again later; a job
# that was deleted meanwhile ends the backfill.
ended() {
    until k wait --for=condition=Complete --timeout="${look}s" "job/$1" >/dev/null 2>&1; do
        # One word for each condition that holds, after the name: nothing at all where there is no such job.
        if state=$(k get job "$1" --ignore-not-found \
            -o 'jsonpath={.metadata.name} {.status.conditions[?(@.status=="True")].type}'); then
            case " $state " in
                *" Failed "*) return ;;
                *" $1 "*) ;;
                *) say "the job $1 was deleted; start the backfill again"; exit 1 ;;
            esac
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

# The schedule bears a mark while a backfill holds it back, so that one that was killed and is started again
# knows whose the suspension is.
mark=metaferry/suspended-by
suspend_schedule() {
    k patch cronjob metaferry --type merge \
        --patch "{\"metadata\":{\"annotations\":{\"$mark\":$2}},\"spec\":{\"suspend\":$1}}" >/dev/null
}

# "true" and nothing else: somebody suspended the schedule, and it stays so.
before=$(k get cronjob metaferry --ignore-not-found \
    -o "jsonpath={.spec.suspend} {.metadata.annotations.metaferry/suspended-by}")

say "taking away the jobs of an earlier backfill"
k delete job --ignore-not-found --wait=true metaferry-plan metaferry-shards metaferry-finish >/dev/null
say "applying $overlay"
kubectl apply --kustomize "$overlay" >/dev/null
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

# Jobs of a cluster, for the scripts that source this: `backfill.sh` and `once.sh`. They set `program` (what
# messages begin with) and `again` (what to do when somebody deletes a job).
# shellcheck shell=sh disable=SC2154

# The namespace, and the name of the CronJob, with which the names of all other objects begin.
namespace=${NAMESPACE:-metaferry}
name=${NAME:-metaferry}
# Seconds that one look at the cluster may wait for a change.
look=${LOOK:-30}

k() { kubectl --namespace "$namespace" "$@"; }
say() { printf '%s: %s\n' "$program" "$*" >&2; }

# Waits until a job has ended, whichever way. A cluster that does not answer is asked again later; a job
# that was deleted meanwhile ends the script.
ended() {
    until k wait --for=condition=Complete --timeout="${look}s" "job/$1" >/dev/null 2>&1; do
        # One word for each condition that holds, after the name: nothing at all where there is no such job.
        if state=$(k get job "$1" --ignore-not-found \
            -o 'jsonpath={.metadata.name} {.status.conditions[?(@.status=="True")].type}'); then
            case " $state " in
                *" Failed "*) return ;;
                *" $1 "*) ;;
                *) say "the job $1 was deleted; $again"; exit 1 ;;
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

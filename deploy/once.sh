#!/bin/sh
# One command of metaferry as a job in the cluster, with the identity, the job file, the secrets and the limits
# of the scheduled runs; with kubectl set to the cluster:
#
#   deploy/once.sh unlock /etc/metaferry/job.yaml
#   deploy/once.sh plan /etc/metaferry/job.yaml --keep
#   deploy/once.sh finish s3://fleet-lightly/2026/.metaferry/runs/ID/plan --job /etc/metaferry/job.yaml
#
# NAMESPACE and NAME name the CronJob that the job is made from, suspended or not; both are `metaferry` unless the
# environment says otherwise. The log of the pod follows on stdout. Exits with the code of the command, which is
# run once and not again, unless its node is taken away; the job stays for a day, as those of runs do.
set -eu

program=once
again="start it again"
. "$(dirname "$0")/jobs.sh"

command=${1:?usage: once.sh COMMAND …, such as once.sh unlock /etc/metaferry/job.yaml}
job=$name-$command-$(date -u +%H%M%S)-$$

# The words as a JSON list.
words() {
    comma=
    for word in "$@"; do
        printf '%s"%s"' "$comma" "$(printf '%s' "$word" | sed 's/[\\"]/\\&/g')"
        comma=,
    done
}

changes='[
  {"op": "replace", "path": "/spec/backoffLimit", "value": 0},
  {"op": "replace", "path": "/spec/podFailurePolicy/rules", "value": [
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
  {"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ['$(words "$@")']}]'

made=$(k create job "$job" --from="cronjob/$name" --dry-run=client -o json)
changed=$(printf '%s\n' "$made" | k patch --local --filename - --type json --patch "$changes" -o json)
printf '%s\n' "$changed" | k create --filename - >/dev/null
say "started the job $job in $namespace"

k logs --follow --pod-running-timeout="${START:-10m}" "job/$job" || say "its log cannot be followed; waiting for its end"
ended "$job"
code=$(code_of "$job")
say "$command ended with $code"
exit "$code"

#!/bin/sh
# Prints the build arguments by which an image says what it was made from, a line each, for docker, podman
# and buildah alike: `docker build $(deploy/build-args.sh) -f deploy/Dockerfile -t metaferry:0.1.0 .`
#
# They come from this checkout: the version, the commit (with `-dirty` where files differ from it) and its time,
# the remote it was cloned from, and the base. SOURCE_DATE_EPOCH, SOURCE and BASE in the environment override that.
set -eu
cd "$(dirname "$0")/.."

git_here() { git "$@" 2>/dev/null || true; }

# The page of a remote: no user, no password, nothing that is a path of this machine.
page_of() {
    printf '%s\n' "$1" | sed -n \
        -e 's#^git@\([^:/]*\):\(.*\)$#https://\1/\2#' \
        -e 's#^ssh://#https://#' \
        -e 's#^\(https\{0,1\}://\)[^/@]*@#\1#' \
        -e 's#\.git$##' \
        -e 's#^\(https\{0,1\}://..*\)$#\1#p'
}

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git_here rev-parse HEAD)
[ -z "$revision" ] || [ -z "$(git_here status --porcelain --untracked-files=no)" ] || revision=$revision-dirty
epoch=${SOURCE_DATE_EPOCH:-$(git_here log -1 --format=%ct)}
source=${SOURCE:-$(page_of "$(git_here config --get remote.origin.url)")}
base=${BASE:-$(sed -n 's/^ARG BASE=//p' deploy/Dockerfile)}

argument() { printf -- '--build-arg=%s=%s\n' "$1" "$2"; }
argument VERSION "$version"
argument REVISION "${revision:-unknown}"
argument SOURCE "${source:-unknown}"
if [ -n "$epoch" ]; then
    argument SOURCE_DATE_EPOCH "$epoch"
    # GNU's date, else that of BSD and macOS.
    argument CREATED "$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$epoch" +%Y-%m-%dT%H:%M:%SZ)"
fi
argument BASE "$base"
# Written out, as the label wants it: a name without a folder is one of Docker's library.
case $base in
    */*) argument BASE_NAME "${base%@*}" ;;
    *) argument BASE_NAME "docker.io/library/${base%@*}" ;;
esac
case $base in
    *@*) argument BASE_DIGEST "${base##*@}" ;;
esac

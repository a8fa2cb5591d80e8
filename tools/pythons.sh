#!/usr/bin/env bash
# pythons.sh [VERSION...]: run the tests on every Python we support, each in an environment of its own.
#
# Where an interpreter is taken from: find_python.sh. What cannot be had is said. Everything lies in
# .pythons, or in PYTHONS_HOME; ARGS are for pytest.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
here=$PWD
home=${PYTHONS_HOME:-$here/.pythons}
results=$home/results.txt
. tools/find_python.sh
[ $# -gt 0 ] || set -- 3.11 3.12 3.13 3.14
mkdir -p "$home"

run_version() {
    local venv=$home/venv-$1 log=$home/tests-$1.log
    say "Python $1: $where; installing"
    # An environment made by another interpreter of this version is made anew.
    [ "$(cat "$venv/.where" 2>/dev/null)" = "$where" ] || rm -rf "$venv"
    if ! {
        "${enter[@]}" "$python" -m venv "$venv" &&
            "${enter[@]}" "$venv/bin/python" -m pip --disable-pip-version-check --quiet \
                install --no-deps --require-hashes -r requirements/dev.txt &&
            "${enter[@]}" "$venv/bin/python" -m pip --disable-pip-version-check --quiet \
                install --no-deps --no-build-isolation -e . &&
            "${enter[@]}" "$venv/bin/python" -m pip check
    } >"$log" 2>&1; then
        verdict="FAILED to install, see $log"
        return 1
    fi
    echo "$where" >"$venv/.where"
    say "Python $1: testing, see $log"
    # CI would make a failure of every program that a small Debian does not have.
    # shellcheck disable=SC2086 # ARGS are words
    "${enter[@]}" env -u CI PATH="$venv/bin:$PATH" "$venv/bin/python" -m pytest -q \
        -n "${JOBS:-4}" --dist worksteal ${ARGS:-} >>"$log" 2>&1
    local status=$?
    verdict="$([ $status -eq 0 ] && echo passed || echo FAILED): $(tail -n 1 "$log" | tr -d =)"
    return $status
}

failed=0
: >"$results"
for version in "$@"; do
    if ! find_python "$version"; then
        line="Python $version  not run: $reason"
    else
        run_version "$version" || failed=1
        line="Python $version  $verdict  ($where)"
    fi
    say "$line"
    echo "$line" >>"$results"
done
echo
cat "$results"
exit $failed

#!/usr/bin/env bash
# pythons.sh [VERSION...]: run the tests on every Python we support, each in an environment of its own.
#
# An interpreter is taken from pyenv, from the system, or from a small Debian that has it: that one
# is made with debootstrap, from the archive this machine's apt uses, and entered with chroot. What
# cannot be had is said. Everything lies in .pythons, or in PYTHONS_HOME; ARGS are for pytest.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
here=$PWD
home=${PYTHONS_HOME:-$here/.pythons}
results=$home/results.txt
declare -A suites=([3.11]=bookworm [3.13]=trixie [3.14]=testing)
[ $# -gt 0 ] || set -- 3.11 3.12 3.13 3.14
mkdir -p "$home"

. tools/debian_root.sh

# Whether a command is a Python of a version that can make environments.
is_python() {
    "${@:2}" -c "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" \
        >/dev/null 2>&1
}

# Set `python` and `enter`, or set `reason` and return 1.
find_python() {
    local each
    enter=()
    for each in "$HOME"/.pyenv/versions/"$1".*/bin/python "python$1"; do
        if is_python "$1" "$each"; then
            python=$each where=$each
            return 0
        fi
    done
    [ -n "${suites[$1]:-}" ] || { reason="not here, and no Debian has it"; return 1; }
    make_root "${suites[$1]}" "debian-${suites[$1]}" \
        git,iproute2,mosquitto,mosquitto-clients,nftables,openssl,procps,python3-venv || return 1
    enter=(in_root) python=/usr/bin/python3 where="Debian ${suites[$1]}"
    is_python "$1" in_root "$python" && return 0
    reason="$where has another Python by now"
    return 1
}

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

# shellcheck shell=bash disable=SC2034
# find_python.sh: a Python of a version, from pyenv, the system, or a small Debian that has it.
#
# To be sourced; `home` and `here` are those of debian_root.sh.

. tools/debian_root.sh

declare -A suites=([3.11]=bookworm [3.13]=trixie [3.14]=testing)

# Whether a command is a Python of a version that can make environments.
is_python() {
    "${@:2}" -c "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" \
        >/dev/null 2>&1
}

# Set `python`, `enter` and `where`, or set `reason` and return 1. `root` is the Debian, if it is one.
find_python() {
    local each
    enter=() root=""
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

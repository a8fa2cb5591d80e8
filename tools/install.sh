#!/usr/bin/env bash
# install.sh VENV LOCK: put what requirements/LOCK.txt pins into an environment, and say how it goes.
#
# A lock is whole, so nothing is resolved: pip before 23.3 refuses a locked package that another one
# wants with an extra as soon as a newer release exists. Lines are plain: no terminal is needed.
set -euo pipefail

venv=$1
lock=$2
every=10
total=$(grep -cE '^[a-z0-9][^ ]*==' "requirements/$lock.txt")
pip=("$venv/bin/python" -m pip --disable-pip-version-check)

say() { echo "charger-bridge: $*"; }

say "fetching $total packages for $lock; on a new machine this takes a minute"
export PYTHONUNBUFFERED=1
"${pip[@]}" install --progress-bar off --no-deps --require-hashes -r "requirements/$lock.txt" | {
    seen=0
    while read -r first second _; do
        case "$first $second" in
        "Collecting "* | "Requirement already")
            seen=$((seen + 1))
            [ $((seen % every)) -ne 0 ] || say "$seen of $total"
            ;;
        "Installing collected") say "unpacking them" ;;
        esac
    done
}
[ "$lock" = audit ] || {
    say "installing the bridge itself"
    # Newer ones warn of every editable installation; what they say counts only when it fails.
    said=$("${pip[@]}" install --no-deps --no-build-isolation -e . 2>&1) || {
        echo "$said" >&2
        exit 1
    }
}
# Nothing was resolved, so nothing may be missing: at once, and for every Python we support.
"${pip[@]}" check >/dev/null || "${pip[@]}" check
if "$venv/bin/python" -c 'import packaging' 2>/dev/null; then
    "$venv/bin/python" tools/check_lock.py "$lock"
fi
say "ready"

#!/usr/bin/env bash
# need.sh COMMAND PACKAGE: make sure a program of the tests is there, installing it where we may.
#
# Without the right to install it says what is missing and succeeds: the tests that need it say
# so themselves, and fail instead of being skipped when CI is set.
set -euo pipefail

command_name=$1
package=$2

if command -v "$command_name" >/dev/null; then
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        echo "$command_name is missing: install the package $package" >&2
        exit 0
    fi
fi
if ! command -v apt-get >/dev/null; then
    echo "$command_name is missing, and so is apt-get: install $package your system's way" >&2
    exit 0
fi

echo "installing $package with apt-get" >&2
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "$package" >/dev/null

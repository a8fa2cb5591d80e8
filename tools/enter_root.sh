#!/usr/bin/env bash
# enter_root.sh ROOT FOLDER COMMAND...: run a command in another Debian (debian_root.sh), as root.
#
# It sees this project and the folder under the paths they have here. The command takes the place of
# this process: signals reach it.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck disable=SC2034 # of exec_in_root
root=$1 home=$2 here=$PWD
. tools/debian_root.sh
shift 2
exec_in_root "$@"

#!/usr/bin/env bash
# python_env.sh VERSION FOLDER REQUIREMENTS: make an environment with a Python of this version.
#
# Where the Python comes from a Debian of its own, FOLDER/.root names it: programs of the environment
# are started with enter_root.sh. Status 2 and a line where there is no such Python.
set -euo pipefail

cd "$(dirname "$0")/.."
here=$PWD home=${PYTHONS_HOME:-$PWD/.pythons}
. tools/find_python.sh
version=$1 folder=$2 requirements=$3

mkdir -p "$home"
find_python "$version" || { echo "no Python $version: $reason" >&2; exit 2; }
mkdir -p "$folder"
# An environment made by another interpreter is made anew.
[ "$(cat "$folder/.where" 2>/dev/null)" = "$where" ] || rm -rf "$folder"
"${enter[@]}" "$python" -m venv --without-pip "$folder"
"${enter[@]}" .venv/bin/uv pip install --quiet --python "$folder/bin/python" -r "$requirements"
rm -f "$folder/.root"
[ -z "$root" ] || echo "$root" >"$folder/.root"
echo "$where" >"$folder/.where"

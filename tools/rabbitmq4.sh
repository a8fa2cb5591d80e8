#!/usr/bin/env bash
# rabbitmq4.sh COMMAND…: run a command with a RabbitMQ 4.x as the server of its tests.
#
# The server is the one of Debian testing, in a small Debian of its own (tools/debian_root.sh) in
# .pythons, or in PYTHONS_HOME. It is a process on this machine's loopback like any other; only its
# files are apart. What cannot be had is said, and the status is 1.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
here=$PWD
home=${PYTHONS_HOME:-$here/.pythons}
mkdir -p "$home"
. tools/debian_root.sh

if ! make_root testing debian-testing-rabbitmq rabbitmq-server; then
    echo "no RabbitMQ 4.x: $reason" >&2
    exit 1
fi
programs=$home/rabbitmq4
mkdir -p "$programs"
for program in rabbitmq-server rabbitmqctl; do
    # The folder of a server is its HOME (tests/rabbitmq.py).
    cat >"$programs/$program" <<END
#!/usr/bin/env bash
root=$root here=\$HOME home=\$HOME
. $here/tools/debian_root.sh
exec_in_root /usr/lib/rabbitmq/bin/$program "\$@"
END
    chmod +x "$programs/$program"
done
version=$(in_root dpkg-query -W -f '${Version}' rabbitmq-server)
say "RabbitMQ $version"
case $version in 4.*) ;; *) echo "no RabbitMQ 4.x: Debian testing has $version" >&2; exit 1 ;; esac
RABBITMQ_SERVER=$programs/rabbitmq-server exec "$@"

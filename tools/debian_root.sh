# shellcheck shell=bash
# debian_root.sh: small Debians of other suites, for what this machine does not have. To be sourced.
#
# They are made with debootstrap, from the archive this machine's apt uses, in $home, and entered
# with chroot. $here is what they see of this machine besides $home.

say() { echo "$(date +%T) $*"; }

# A private mount namespace: nothing stays mounted, whatever happens.
# shellcheck disable=SC2016 # the inner shells expand
in_root() {
    (exec_in_root "$@")
}

# The same in the place of this shell.
# shellcheck disable=SC2016 # the inner shells expand
exec_in_root() {
    exec unshare --mount --propagation private sh -c '
        root=$1 here=$2 home=$3; shift 3
        mkdir -p "$root$here" "$root$home" && mount --bind "$here" "$root$here" &&
            mount --bind "$home" "$root$home" &&
            mount --rbind /dev "$root/dev" && mount -t proc proc "$root/proc" || exit 1
        for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
            if [ -e "$file" ]; then touch "$root$file" && mount --bind "$file" "$root$file"; fi
        done
        exec chroot "$root" sh -c "cd \"\$1\" && shift && exec \"\$@\"" sh "$here" "$@"
    ' sh "$root" "$here" "$home" "$@"
}

# make_root SUITE NAME PACKAGES: make $root, or set `reason` and return 1.
make_root() {
    local archive
    root=$home/$2
    [ -e "$root/.made" ] && return 0
    [ "$(id -u)" -eq 0 ] || { reason="only root can make a Debian $1"; return 1; }
    tools/need.sh debootstrap debootstrap
    command -v debootstrap >/dev/null || { reason="no debootstrap to make a Debian $1"; return 1; }
    archive=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
    [ -n "$archive" ] || { reason="apt knows no archive of Debian's"; return 1; }
    say "making a Debian $1, some 450 MB, two to five minutes"
    rm -rf --one-file-system "$root"
    if ! unshare --mount --propagation private debootstrap --variant=minbase \
        --include="ca-certificates,$3" \
        "$1" "$root" "$archive" >"$root.log" 2>&1; then
        reason="debootstrap failed, see $root.log"
        return 1
    fi
    touch "$root/.made"
}

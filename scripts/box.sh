#!/usr/bin/env bash
# The configuration on real machines: containers with systemd, apt, dnf and nftables, changed for real and thrown away.
# Needs root. The first run makes a root folder of Debian, which is kept for the next ones.
# Usage: scripts/box.sh [WORD]...   (only the parts of tests/box/ that are named so, e.g. packages)
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

[ "$(id -u)" = 0 ] || fail "the containers need root: sudo make box"

cache="${XDG_CACHE_HOME:-$HOME/.cache}/campanile/box"
packages=systemd-sysv,curl,dbus,iproute2,nftables,procps,kmod,adduser,ca-certificates,dnf,rpm,createrepo-c
suite=bookworm
recipe=$(printf '%s\n' "$suite" "$packages" "$(sed -n '/^make_root/,/^}/p' scripts/box.sh)" | sha256sum | cut -c1-12)
root="$cache/root-$recipe"

make_root() {
    local folder=$1 unit
    mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$folder"
    # Nothing but what the test starts, and nothing that waits for the internet.
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
        dnf-makecache.timer systemd-resolved.service; do
        ln -sf /dev/null "$folder/etc/systemd/system/$unit"
    done
    rm -f "$folder"/etc/apt/sources.list "$folder"/etc/apt/sources.list.d/* "$folder"/etc/yum.repos.d/*
    mkdir -p "$folder/etc/systemd/system/multi-user.target.wants" "$folder/etc/yum.repos.d"
    : > "$folder/etc/machine-id"
    chmod 755 "$folder"
}

if [ ! -d "$root" ]; then
    say "making a root folder of Debian $suite in $cache"
    mkdir -p "$cache"
    rm -rf --one-file-system "$cache"/root-*
    make_root "$root.new"
    mv "$root.new" "$root"
fi

say "building"
BOX_PACKAGES=$(realpath -m "$TARGET_DIR/box-packages")
rm -rf "$BOX_PACKAGES"
PROFILE=dev OUT=$BOX_PACKAGES scripts/package.sh deb rpm
# The same programs as a later release, to upgrade to and to go back from.
PROFILE=dev PROGRAMS=$TARGET_DIR/debug VERSION=99.0.0 OUT=$BOX_PACKAGES/later scripts/package.sh deb rpm > /dev/null

BOX_ID=$$
BOX_ROOT=$root
BOX_PROGRAMS=$(realpath "$TARGET_DIR/debug")
BOX_WORK=$(mktemp -d)
BOX_LOGS=$(realpath "$TARGET_DIR")/box
mkdir -p "$BOX_LOGS"
export BOX_PACKAGES BOX_ID BOX_ROOT BOX_PROGRAMS BOX_WORK BOX_LOGS

# shellcheck disable=SC2317  # called by the trap
clean() {
    local folder
    rm -rf --one-file-system "$BOX_WORK"
    for folder in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
        [ ! -d "$folder/campanile-box-$BOX_ID" ] || find "$folder/campanile-box-$BOX_ID" -depth -type d -delete || true
    done
}
trap clean EXIT

# Mounts, network and processes are those of these namespaces: they end with the test, however it ends.
say "the configuration on real machines"
status=0
unshare --mount --net --pid --fork --kill-child --mount-proc tests/box/run.sh "$@" || status=$?
exit "$status"

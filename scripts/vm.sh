#!/usr/bin/env bash
# The packages on a machine with a kernel of its own: limits that are enforced, memory that runs out, power that fails.
# An emulated machine, some ten times slower than this one. Needs root. The first run makes its disk, which is kept.
# Usage: scripts/vm.sh [--short] [--if-possible] [WORD]...   (only the parts of tests/vm/ that are named so, e.g. limits)
# PACKAGES=FOLDER takes packages that are made already, PROGRAMS=FOLDER the programs for this side.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

cache="${XDG_CACHE_HOME:-$HOME/.cache}/campanile/vm"
packages=systemd-sysv,udev,dbus,linux-image-cloud-amd64,initramfs-tools,openssh-server,iproute2,procps,kmod,adduser,ca-certificates
suite=bookworm
recipe=$(printf '%s\n' "$suite" "$packages" "$(sed -n '/^make_disk/,/^}/p' scripts/vm.sh)" | sha256sum | cut -c1-12)
image="$cache/image-$recipe"

parts=()
for argument in "$@"; do
    case $argument in
        --short) parts=(install limits absent) ;;
        --if-possible)
            if [ "$(id -u)" != 0 ] || [ ! -d "$image" ] || ! has qemu-system-x86_64 || ! has ssh; then
                say "a machine with its own kernel: skipped, it needs root and the disk that \`make vm\` makes"
                exit 0
            fi
            ;;
        -*) fail "usage: scripts/vm.sh [--short] [--if-possible] [PART]..." ;;
        *) parts+=("$argument") ;;
    esac
done
[ "$(id -u)" = 0 ] || fail "the machine's disk and network need root: sudo make vm"
[ -r /dev/net/tun ] || fail "there is no /dev/net/tun: modprobe tun"

# make_disk FOLDER: a disk of Debian that starts by itself, its kernel, and the key that opens it.
make_disk() {
    local folder=$1 root=$1/root unit
    mkdir -p "$folder"
    ssh-keygen -q -t ed25519 -N '' -C campanile -f "$folder/key"
    mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$root" > "$folder/log" 2>&1 ||
        fail "Debian cannot be fetched: $(tail -n 5 "$folder/log")"
    echo vm > "$root/etc/hostname"
    printf '127.0.0.1 localhost vm\n' > "$root/etc/hosts"
    printf '/dev/vda / ext4 defaults 0 1\n' > "$root/etc/fstab"
    install -D -m 600 "$folder/key.pub" "$root/root/.ssh/authorized_keys"
    printf 'UseDNS no\nUsePAM no\nPermitRootLogin prohibit-password\n' > "$root/etc/ssh/sshd_config.d/vm.conf"
    printf '[Match]\nName=eth0\n[Network]\nAddress=10.88.0.2/24\n' > "$root/etc/systemd/network/wire.network"
    # The journal outlives a power cut; nothing waits for the internet.
    mkdir -p "$root/var/log/journal"
    chroot "$root" systemctl --quiet enable systemd-networkd.service ssh.service
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
        systemd-networkd-wait-online.service getty@tty1.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    # What this machine's disk and network need, and no more: it is unpacked by an emulated processor.
    printf 'MODULES=list\nCOMPRESS=gzip\n' > "$root/etc/initramfs-tools/conf.d/vm"
    printf '%s\n' virtio_pci virtio_blk virtio_net ext4 > "$root/etc/initramfs-tools/modules"
    chroot "$root" update-initramfs -u -k all >> "$folder/log" 2>&1
    cp "$root"/boot/vmlinuz-* "$folder/kernel"
    cp "$root"/boot/initrd.img-* "$folder/initrd"
    rm -rf "${root:?}"/boot/* "$root"/var/lib/apt/lists/*
    : > "$root/etc/machine-id"
    chmod 755 "$root"
    mkfs.ext4 -q -F -E lazy_itable_init=1,root_owner=0:0 -d "$root" "$folder/disk" 3G
    rm -rf --one-file-system "$root"
}

if [ ! -d "$image" ]; then
    say "making a disk of Debian $suite in $cache"
    rm -rf --one-file-system "$cache"
    make_disk "$image.new"
    mv "$image.new" "$image"
fi

VM_PACKAGES=${PACKAGES:-}
if [ -z "$VM_PACKAGES" ]; then
    VM_PACKAGES=$(realpath -m "$TARGET_DIR/vm-packages")
    rm -rf "$VM_PACKAGES"
    PROFILE=dev OUT=$VM_PACKAGES scripts/package.sh deb
fi
VM_PACKAGES=$(realpath "$VM_PACKAGES")
VM_IMAGE=$image
VM_PROGRAMS=$(realpath "${PROGRAMS:-$TARGET_DIR/debug}")
VM_WORK=$(mktemp -d)
VM_LOGS=$(realpath -m "$TARGET_DIR/vm")
mkdir -p "$VM_LOGS"
export VM_PACKAGES VM_IMAGE VM_PROGRAMS VM_WORK VM_LOGS
trap 'rm -rf --one-file-system "$VM_WORK"' EXIT

# Network and processes are those of these namespaces: they end with the test, however it ends.
say "a machine with its own kernel"
status=0
unshare --mount --net --pid --fork --kill-child --mount-proc tests/vm/run.sh "${parts[@]}" || status=$?
exit "$status"

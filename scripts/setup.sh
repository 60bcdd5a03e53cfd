#!/usr/bin/env bash
# Gets what a make target needs and nothing that is there already.
# Usage: scripts/setup.sh [build|test|browser|box|vm|matrix|deb|rpm|lint]...   (each includes build)
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

# Runs a command as root, or says what an administrator has to do.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        fail "needs root for: $* (or run it once as root; neither root nor sudo is at hand)"
    fi
}

updated=
apt_update() {
    [ -n "$updated" ] || as_root apt-get update -qq
    updated=yes
}

# need PROGRAM PACKAGE: installs the package when the program is missing.
need() {
    has "$1" && return
    has apt-get || fail "$1 is missing: install it with this system's package manager (Debian calls it $2)"
    say "installing $2"
    apt_update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" > /dev/null
    has "$1" || fail "$1 is still missing after installing $2"
}

# promtool is taken out of its package: installing it would start a Prometheus server.
need_promtool() {
    has promtool && return
    has apt-get || fail "promtool is missing: put it on PATH (it comes with Prometheus)"
    say "fetching promtool"
    local folder
    folder=$(mktemp -d)
    chmod 755 "$folder"
    if ! (cd "$folder" && apt-get download -qq prometheus 2> /dev/null); then
        apt_update
        (cd "$folder" && apt-get download -qq prometheus) || fail "cannot fetch the package prometheus"
    fi
    dpkg-deb -x "$folder"/prometheus_*.deb "$folder/tree"
    mkdir -p "$CAMPANILE_TOOLS/bin"
    install -m 755 "$folder/tree/usr/bin/promtool" "$CAMPANILE_TOOLS/bin/promtool"
    rm -rf "$folder"
}

# Each kind of package holds the other kind for nodes.
need_packages() {
    need dpkg-deb dpkg
    need dpkg-shlibdeps dpkg-dev
    need strip binutils
    need rpmbuild rpm
    need python3 python3-minimal
}

# A server that speaks S3, in a Python of its own.
MOTO=5.2.5
need_moto() {
    local folder="$CAMPANILE_TOOLS/moto"
    [ "$(cat "$folder/version" 2> /dev/null)" = "$MOTO" ] && return
    # Debian keeps what makes such a folder apart.
    if ! python3 -c 'import ensurepip' 2> /dev/null; then
        has apt-get || fail "python3 has no venv: install it with this system's package manager (Debian calls it python3-venv)"
        say "installing python3-venv"
        apt_update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv > /dev/null
    fi
    say "fetching moto $MOTO"
    rm -rf "$folder"
    mkdir -p "$CAMPANILE_TOOLS"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "moto[s3,server]==$MOTO"
    echo "$MOTO" > "$folder/version"
}

# Its program alone is wanted: whoever has no SSH server gets none that runs, now or at the next start.
need_sshd() {
    has sshd && return
    has apt-get || fail "sshd is missing: install it with this system's package manager (Debian calls it openssh-server)"
    say "installing openssh-server, not started"
    apt_update
    local rule=/usr/sbin/policy-rc.d made=
    if [ ! -e "$rule" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$rule" > /dev/null
        as_root chmod 755 "$rule"
        made=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-server > /dev/null || true
    [ -z "$made" ] || as_root rm -f "$rule"
    has sshd || fail "sshd is still missing after installing openssh-server"
    ! has systemctl || as_root systemctl --quiet disable ssh.service ssh.socket > /dev/null 2>&1 || true
}

need_deny() {
    has cargo-deny && return
    # Building it takes many processor minutes; the rules that matter are tests as well.
    [ "${CAMPANILE_DENY:-0}" = 1 ] || return 0
    say "building cargo-deny"
    cargo install --locked --root "$CAMPANILE_TOOLS" --version 0.20.2 cargo-deny
}

has cargo || fail "cargo is missing: install the Rust toolchain from https://rustup.rs; rust-toolchain.toml names the version"

for part in build "$@"; do
    case "$part" in
        build) need cc gcc ;;
        test)
            need python3 python3-minimal
            need_promtool
            # The guide asks the API with it.
            need curl curl
            # Turns the clock of one process in the end-to-end tests.
            need faketime faketime
            # A node that shuts itself out, in a network of its own.
            need nft nftables
            need ip iproute2
            # Judges what the backup engine writes.
            need restic restic
            # What a node fetches its packages with.
            need curl curl
            # Judge the units and the packages.
            need systemd-analyze systemd
            need_packages
            need lintian lintian
            need rpmlint rpmlint
            # What it writes into: a bucket, and a folder by SFTP.
            need_moto
            need_sshd
            need ssh-keygen openssh-client
            ;;
        browser)
            need chromium chromium
            need node nodejs
            need npm npm
            ;;
        matrix)
            need python3 python3-minimal
            need nft nftables
            need ip iproute2
            ;;
        box)
            need systemd-nspawn systemd-container
            need mmdebstrap mmdebstrap
            need ip iproute2
            need pgrep procps
            need python3 python3-minimal
            need_packages
            ;;
        vm)
            need mmdebstrap mmdebstrap
            need mkfs.ext4 e2fsprogs
            need qemu-system-x86_64 qemu-system-x86
            need ssh openssh-client
            need ip iproute2
            need curl curl
            need python3 python3-minimal
            need_packages
            ;;
        deb | rpm) need_packages ;;
        lint)
            need shellcheck shellcheck
            need_deny
            ;;
        *) fail "unknown part $part: one of build, test, browser, box, vm, matrix, deb, rpm, lint" ;;
    esac
done

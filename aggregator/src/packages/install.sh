#!/bin/sh
# Installs campanile-agent on this machine and enrols it. Made by the aggregator of the fleet, for its nodes.
#
#   sh install.sh [--allow backup,config,command,rollout] [--name NAME]   token on standard input, or asked for
#
# What it downloads is compared with the digests below before anything is installed. Run again it installs what is
# newer, and a node that is enrolled stays enrolled.
set -eu
umask 022

fleet=@FLEET@
# Where the aggregator is reached, in the order to try.
addresses=@ADDRESSES@
# Kind, machine, file and SHA-256 of each package.
packages=@PACKAGES@
ca=@CA@

say() { printf 'campanile: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

has() { command -v "$1" > /dev/null 2>&1; }

# How this machine's packages are made.
kind() {
    # shellcheck source=/dev/null
    like=$(. /etc/os-release 2> /dev/null && printf ' %s %s ' "${ID:-}" "${ID_LIKE:-}") || like=' '
    case $like in
        *' debian '* | *' ubuntu '*) echo deb ;;
        *' fedora '* | *' rhel '* | *' centos '* | *' suse '* | *' opensuse '* | *' amzn '*) echo rpm ;;
        *) if has dpkg; then echo deb; elif has rpm; then echo rpm; fi ;;
    esac
}

# machine KIND: what this kind of package calls it.
machine() {
    case $1-$(uname -m) in
        deb-x86_64) echo amd64 ;;
        deb-aarch64) echo arm64 ;;
        *) uname -m ;;
    esac
}

# download ADDRESS FILE TARGET
download() {
    if has curl; then
        curl -fsS --proto '=https' --cacert "$work/ca.pem" --connect-timeout 10 --max-time 600 --retry 3 \
            -o "$3" "$1/packages/$2"
    elif has wget; then
        wget -q --ca-certificate="$work/ca.pem" --timeout=30 --tries=3 -O "$3" "$1/packages/$2"
    else
        fail 'neither curl nor wget is installed; install one, or bring the package here and install it by hand'
    fi
}

# fetch FILE DIGEST: into the work folder, from the first address that has it.
fetch() {
    for address in $addresses; do
        say "fetching $1 from $address"
        if ! download "$address" "$1" "$work/$1"; then
            say "$address does not give it"
            continue
        fi
        if printf '%s  %s\n' "$2" "$work/$1" | sha256sum -c - > /dev/null 2>&1; then
            return 0
        fi
        rm -f "$work/$1"
        fail "$1 from $address is not the package that this script was made for: its SHA-256 differs, nothing was" \
            'installed. After an update of the aggregator take a new line from: campanile-aggregator init'
    done
    fail "$1 could not be fetched from any address of the aggregator: is TCP to one of these open? $addresses"
}

# install_package KIND FILE
install_package() {
    case $1 in
        deb)
            if has apt-get; then
                DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2" < /dev/null
            else
                dpkg -i "$2" < /dev/null
            fi
            ;;
        rpm)
            # By itself where everything that it needs is there, so that no mirror has to be reached.
            if rpm -U --replacepkgs "$2" < /dev/null; then
                return 0
            elif has dnf; then
                dnf install -y "$2" < /dev/null
            elif has yum; then
                yum install -y "$2" < /dev/null
            elif has zypper; then
                zypper --non-interactive install --allow-unsigned-rpm "$2" < /dev/null
            else
                return 1
            fi
            ;;
    esac
}

# choose KIND MACHINE: file and digest of the package for it.
choose() {
    printf '%s\n' "$packages" | while read -r of for_machine file digest; do
        if [ "$of" = "$1" ] && [ "$for_machine" = "$2" ]; then
            echo "$file $digest"
        fi
    done
}

# enrol TOKEN ARGUMENT...
enrol() {
    token=$1
    shift
    if [ -n "$token" ]; then
        printf '%s\n' "$token" | campanile-agent enroll "$@" -
    elif (: < /dev/tty) 2> /dev/null; then
        campanile-agent enroll "$@" < /dev/tty
    else
        say 'installed, and not enrolled: no token came. As root, with a token that campanile token create makes:'
        say '    campanile-agent enroll'
    fi
}

main() {
    [ "$(id -u)" -eq 0 ] || fail 'installing takes root: run it with sudo'
    has sha256sum || fail 'sha256sum is not installed, so that nothing could be compared with its digest'
    token=
    if [ ! -t 0 ]; then token=$(head -c 8192); fi
    kind=$(kind)
    [ -n "$kind" ] || fail 'this machine has neither dpkg nor rpm; take the program from an archive instead'
    machine=$(machine "$kind")
    chosen=$(choose "$kind" "$machine")
    [ -n "$chosen" ] || fail "the aggregator has no $kind package for $machine; it has:
$packages"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # The package tool reads from it as a user of its own.
    chmod 755 "$work"
    printf '%s\n' "$ca" > "$work/ca.pem"
    file=${chosen% *}
    fetch "$file" "${chosen#* }"
    say "installing $file"
    install_package "$kind" "$work/$file" > "$work/log" 2>&1 || {
        cat "$work/log" >&2
        fail "$file was not installed; see above"
    }
    if campanile-agent status > /dev/null 2>&1 && [ $# -eq 0 ]; then
        say "installed; this node is enrolled already in its fleet and stays so"
    else
        say "enrolling in fleet $fleet"
        enrol "$token" "$@"
    fi
    say 'how it fares: campanile-agent doctor'
    case $kind in
        deb) say 'take it off again: apt-get purge campanile-agent' ;;
        rpm) say 'take it off again: rpm -e campanile-agent; rm -r /etc/campanile /var/lib/campanile' ;;
    esac
}

# Last, so that a script that was cut off on its way does nothing.
main "$@"

#!/usr/bin/env bash
# Makes the packages: .deb and .rpm of agent, aggregator and command line, with a list of what is in them.
# Usage: scripts/package.sh deb|rpm...   (OUT=dist; two runs of one commit give equal bytes)
# PROFILE=dev builds without optimization and packs in a hurry; PROGRAMS=FOLDER takes what is built already.
# The aggregator's package carries the others in both kinds, for the nodes that it serves them to.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
# shellcheck source=packaging/packages.sh
source packaging/packages.sh
# shellcheck source=packaging/stage.sh
source packaging/stage.sh

PROFILE=${PROFILE:-release}
OUT=${OUT:-dist}
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
# Which build of that version, in both kinds of packages.
REVISION=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Everything that could differ between two builds: times, names, the order of files.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || echo 0)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
umask 022

# Paths of the machine that builds are not in the programs.
remap="--remap-path-prefix=$PWD=/campanile --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
remap+=" --remap-path-prefix=$(rustc --print sysroot)=/rust"

build() {
    [ -z "${PROGRAMS:-}" ] || return 0
    say "building ($PROFILE)"
    if [ "$PROFILE" = dev ]; then
        # Crates that build C would be built again for the date of every commit.
        env -u SOURCE_DATE_EPOCH cargo build --locked --workspace --bins
        PROGRAMS=$TARGET_DIR/debug
    else
        export RUSTFLAGS="${RUSTFLAGS:-} $remap"
        # One at a time: built together, the agent would carry features that only the others need.
        cargo build --locked --profile release-agent -p campanile-agent
        cargo build --locked --release -p campanile-aggregator
        cargo build --locked --release -p campanile-cli
        cargo build --locked --release -p campanile-tests --bin manual
        PROGRAMS=$work/programs
        put 755 "$TARGET_DIR"/release-agent/campanile-agent "$TARGET_DIR"/release/{campanile-aggregator,campanile,manual} \
            "$PROGRAMS"
    fi
}

# Manual pages and completions, by the programs themselves.
describe() {
    MADE=$work/made
    mkdir -p "$MADE/man"
    "$PROGRAMS/manual" "$MADE/man"
    "$PROGRAMS/campanile" man "$MADE/man" > /dev/null 2>&1
    "$PROGRAMS/campanile" completion bash > "$MADE/campanile.bash"
    "$PROGRAMS/campanile" completion zsh > "$MADE/_campanile"
    "$PROGRAMS/campanile" completion fish > "$MADE/campanile.fish"
}

# All files as old as the commit.
settle() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

# shellcheck source=packaging/deb/build.sh
source packaging/deb/build.sh
# shellcheck source=packaging/rpm/build.sh
source packaging/rpm/build.sh

[ $# -gt 0 ] || fail "what is to be made? deb, rpm or both"
for kind in "$@"; do
    case $kind in
        deb | rpm) ;;
        *) fail "unknown kind $kind: deb or rpm" ;;
    esac
done
build
describe
SERVED=$work/served
mkdir -p "$OUT" "$SERVED"
for name in campanile-agent campanile; do
    say "$name"
    make_deb "$name" "$SERVED"
    make_rpm "$name" "$SERVED"
done
(cd "$SERVED" && sha256sum -- *.deb *.rpm > SHA256SUMS)
say campanile-aggregator
for kind in "$@"; do
    "make_$kind" campanile-aggregator "$OUT"
    cp "$SERVED"/*."$kind" "$OUT"
done
for name in "${PACKAGES[@]}"; do
    python3 -B scripts/sbom.py "${CRATE[$name]}" > "$OUT/${name}_$VERSION.cdx.json"
done
# Of one kind alone there may be none of the other.
(cd "$OUT" && find . -maxdepth 1 -name "*$VERSION*" \( -name '*.deb' -o -name '*.rpm' -o -name '*.json' \) -printf '%P\0' |
    sort --zero-terminated | xargs --null sha256sum -- | tee SHA256SUMS)

#!/usr/bin/env bash
# Makes the packages: .deb and .rpm of agent, aggregator and command line, with a list of what is in them.
# Usage: scripts/package.sh deb|rpm...   (PROFILE=dev for tests; OUT=dist; two runs of one commit give equal bytes)
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
# shellcheck source=packaging/packages.sh
source packaging/packages.sh
# shellcheck source=packaging/stage.sh
source packaging/stage.sh

PROFILE=${PROFILE:-release}
OUT=${OUT:-dist}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Which build of that version, in both kinds of packages.
REVISION=1
# Everything that could differ between two builds: times, names, the order of files.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || echo 0)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
umask 022

# Paths of the machine that builds are not in the programs.
remap="--remap-path-prefix=$PWD=/campanile --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
remap+=" --remap-path-prefix=$(rustc --print sysroot)=/rust"

build() {
    say "building ($PROFILE)"
    if [ "$PROFILE" = dev ]; then
        cargo build --locked --workspace --bins
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
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build
mkdir -p "$OUT"
for kind in "$@"; do
    case $kind in
        deb | rpm)
            say "$kind"
            for name in "${PACKAGES[@]}"; do "make_$kind" "$name"; done
            ;;
        *) fail "unknown kind $kind: deb or rpm" ;;
    esac
done
(cd "$OUT" && sha256sum -- *.deb *.rpm 2> /dev/null | tee SHA256SUMS)

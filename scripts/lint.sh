#!/usr/bin/env bash
# Format, lints, documentation, licences, scripts. Warnings are errors.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

say "format"
cargo fmt --all --check
say "clippy"
cargo clippy --locked --workspace --all-targets -- -D warnings
say "documentation"
# Links to private items are for whoever reads the code, which is everybody who reads these pages.
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --lib --quiet
if has cargo-deny; then
    say "licences, bans, sources"
    cargo deny --all-features check licenses bans sources
fi
say "scripts"
mapfile -t scripts < <(git ls-files '*.sh' .ci/run 2> /dev/null || ls scripts/*.sh .ci/run)
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
say "lint: all clean"

#!/usr/bin/env bash
# A hundred million random and mutated frames through the decoders, or FRAMES of them; then a million mutated orders, or
# MUTATIONS of them, over the link and over the steward's socket of a real node.
# CAMPANILE_SEED repeats a run that failed.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

export CAMPANILE_FRAMES="${FRAMES:-100000000}"
say "$CAMPANILE_FRAMES frames"
# The test profile keeps overflow checks, which a release build does without.
cargo test --locked -p campanile-tests --test frames -- --nocapture
export CAMPANILE_MUTATIONS="${MUTATIONS:-1000000}"
say "$CAMPANILE_MUTATIONS mutated orders, twice"
cargo build --locked --workspace --bins
exec cargo test --locked -p campanile-tests --test hostile -- --nocapture

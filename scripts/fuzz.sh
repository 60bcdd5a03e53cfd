#!/usr/bin/env bash
# A hundred million random and mutated frames through the decoders, or FRAMES of them.
# CAMPANILE_SEED repeats a run that failed.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

export CAMPANILE_FRAMES="${FRAMES:-100000000}"
say "$CAMPANILE_FRAMES frames"
# The test profile keeps overflow checks, which a release build does without.
exec cargo test --locked -p campanile-tests --test frames -- --nocapture

#!/usr/bin/env bash
# Stops a demo that still runs, then removes what was built.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

for program in "$TARGET_DIR"/{debug,release}/campanile; do
    if [ -d "${DIR:-.demo}" ] && [ -x "$program" ]; then
        "$program" dev down --dir "${DIR:-.demo}" || say "no demo to stop in ${DIR:-.demo}"
        break
    fi
done
rm -rf .demo dist
cargo clean

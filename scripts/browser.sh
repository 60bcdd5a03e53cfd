#!/usr/bin/env bash
# The page in a real browser, against a development fleet of its own. Gets Chromium and the npm packages that are
# missing. With --if-present it fetches nothing and skips, visibly, when something is missing; CAMPANILE_BROWSER=1
# makes that a full run.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

modules="$CAMPANILE_TOOLS/browser"
find_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
packages_present() { cmp -s tests/browser/package.json "$modules/package.json" && [ -d "$modules/node_modules" ]; }

if [ "${1:-}" = --if-present ] && [ "${CAMPANILE_BROWSER:-0}" != 1 ]; then
    if ! has node || ! find_chromium > /dev/null || ! packages_present; then
        say "skipped: the page in a browser (make browser gets what it needs)"
        exit 0
    fi
else
    scripts/setup.sh browser
    if ! packages_present; then
        say "fetching the browser tests' npm packages"
        mkdir -p "$modules"
        rm -rf "$modules/node_modules"
        cp tests/browser/package.json "$modules/package.json.new"
        (
            cd "$modules"
            mv package.json.new package.json
            npm install --no-audit --no-fund --no-package-lock --silent
        ) || { rm -f "$modules/package.json"; fail "npm cannot fetch the packages of tests/browser/package.json"; }
    fi
fi

say "building"
cargo build --locked --workspace --lib --bins
folder=$(mktemp -d)
program="$TARGET_DIR/debug/campanile"
trap '"$program" dev down --dir "$folder/fleet" > /dev/null || true; rm -rf "$folder"' EXIT
link=$("$program" dev up --nodes 5 --dir "$folder/fleet" --detach | awk '/^sign in/ { print $3 }')
say "the page in $(find_chromium)"
CHROMIUM=$(find_chromium) BROWSER_MODULES="$modules" node tests/browser/page.mjs "$folder/fleet" "$link"

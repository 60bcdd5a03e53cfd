#!/usr/bin/env bash
# Has lintian and rpmlint judge packages. Usage: packaging/lint.sh FOLDER; fails when either has anything to say that is not
# overridden with a reason.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../scripts/common.sh"

[ $# = 1 ] || fail "where are the packages?"
said=$(lintian --allow-root --tag-display-limit 0 "$1"/*.deb)
said+=$(rpmlint -c packaging/rpm/rpmlint.toml "$1"/*.rpm 2>&1 | grep -E '^[^ ]+: [EW]: ' || true)
[ -z "$said" ] || fail "$said"

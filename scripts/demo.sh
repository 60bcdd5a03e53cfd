#!/usr/bin/env bash
# One aggregator and NODES agents on this machine, unprivileged, until Ctrl-C.
# Development builds, to be up soon; PROFILE=release for one whose figures mean something.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

profile="${PROFILE:-dev}"
folder=$([ "$profile" = dev ] && echo debug || echo "$profile")
say "building (profile $profile)"
cargo build --locked --profile "$profile" \
    -p campanile-agent -p campanile-aggregator -p campanile-cli --bins
exec "$TARGET_DIR/$folder/campanile" dev up --nodes "${NODES:-28}" --dir "${DIR:-.demo}" "$@"

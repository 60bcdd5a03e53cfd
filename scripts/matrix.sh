#!/usr/bin/env bash
# The link over networks that drop, lose, reorder and rebind, as root in network namespaces of its own.
# Usage: scripts/matrix.sh [--short] [--if-possible]   (CAMPANILE_MATRIX_BIN=FOLDER takes programs that are built)
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

short=()
for argument in "$@"; do
    case $argument in
        --short) short=(--short) ;;
        --if-possible)
            if [ "$(id -u)" != 0 ] || ! has nft || ! unshare --net true 2> /dev/null; then
                say "transport matrix: skipped, it needs root, nft and network namespaces"
                exit 0
            fi
            ;;
        *) fail "usage: scripts/matrix.sh [--short] [--if-possible]" ;;
    esac
done
[ "$(id -u)" = 0 ] || fail "the transport matrix makes network namespaces: run it as root"

programs=${CAMPANILE_MATRIX_BIN:-$TARGET_DIR/debug}
if [ -z "${CAMPANILE_MATRIX_BIN:-}" ]; then
    cargo build --locked --workspace --bins
fi

hub="cmx-hub-$$"
node="cmx-node-$$"
clean() {
    ip netns del "$hub" 2> /dev/null || true
    ip netns del "$node" 2> /dev/null || true
}
trap clean EXIT
ip netns add "$hub"
ip netns add "$node"
ip -n "$hub" link add to-node type veth peer name to-hub netns "$node"
ip -n "$hub" addr add 10.93.0.1/24 dev to-node
ip -n "$node" addr add 10.93.0.2/24 dev to-hub
for namespace in "$hub" "$node"; do
    ip -n "$namespace" link set lo up
done
ip -n "$hub" link set to-node up
ip -n "$node" link set to-hub up

CAMPANILE_MATRIX_NODE="$node" ip netns exec "$hub" \
    python3 -B tests/matrix/matrix.py "$programs" "${short[@]}"

# An aggregator on this side of the wire, and its operator. Sourced by run.sh.
# shellcheck shell=bash

BUNDLE=$VM_WORK/bundle
export CAMPANILE_CONFIG_DIR=$VM_WORK/operator
export CAMPANILE_PASSPHRASE_FILE=$VM_WORK/passphrase
export CAMPANILE_CA=$CAMPANILE_CONFIG_DIR/ca.pem
export CAMPANILE_URL=https://$HERE:8443

campanile() { "$VM_PROGRAMS/campanile" "$@"; }

fleet_found() {
    head -c 18 /dev/urandom | base64 > "$CAMPANILE_PASSPHRASE_FILE"
    campanile fleet init --name vm --operator ada --aggregator-dir "$VM_WORK/aggregator"
    printf '%s\n' "state_dir = \"$VM_WORK/aggregator\"" 'listen = "0.0.0.0:8443"' "addresses = [\"$HERE:8443\"]" \
        'log_format = "text"' > "$VM_WORK/aggregator.toml"
    CAMPANILE_TOKEN=$("$VM_PROGRAMS/campanile-aggregator" --config "$VM_WORK/aggregator.toml" \
        api-token --name vm --role admin --ttl 1d)
    export CAMPANILE_TOKEN
    aggregator_start
}

aggregator_start() {
    "$VM_PROGRAMS/campanile-aggregator" --config "$VM_WORK/aggregator.toml" serve >> "$VM_WORK/aggregator.log" 2>&1 &
    echo $! > "$VM_WORK/aggregator.pid"
    eventually 60 campanile status
}

aggregator_stop() {
    kill "$(cat "$VM_WORK/aggregator.pid")"
    while kill -0 "$(cat "$VM_WORK/aggregator.pid")" 2> /dev/null; do sleep 0.1; done
}

# bundle: the layer of the node is what standard input says, and nothing else is in the bundle.
bundle() {
    rm -rf "$BUNDLE"
    mkdir -p "$BUNDLE/nodes"
    : > "$BUNDLE/fleet.toml"
    cat > "$BUNDLE/nodes/vm.toml"
}

apply() { campanile config apply "$BUNDLE" -m 'vm' --yes "$@"; }

# order COMMAND...: on the node, with the operator's key.
order() { campanile run vm --yes --timeout 5m -- "$@"; }

# property UNIT NAME: what systemd says of it.
property() { vm systemctl show -p "$2" --value "$1"; }

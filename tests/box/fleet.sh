# One aggregator and two nodes with their stewards, as units of systemd, with the machines' own / to configure.
# Sourced by run.sh.
# shellcheck shell=bash disable=SC2034

HUB=alpha
NODES=(alpha beta)
BUNDLE=$BOX_WORK/bundle
export CAMPANILE_CONFIG_DIR=$BOX_WORK/operator
export CAMPANILE_PASSPHRASE_FILE=$BOX_WORK/passphrase
export CAMPANILE_CA=$CAMPANILE_CONFIG_DIR/ca.pem

campanile() { "$BOX_PROGRAMS/campanile" "$@"; }

# unit_file MACHINE NAME USER COMMAND...
unit_file() {
    local file=$BOX_WORK/$1/root/etc/systemd/system/$2.service user=$3
    shift 3
    printf '%s\n' '[Unit]' 'After=wire.service' '[Service]' 'Type=notify' "User=$user" "ExecStart=$*" \
        'RuntimeDirectory=campanile' 'RuntimeDirectoryPreserve=yes' 'Restart=always' 'RestartSec=1' \
        '[Install]' 'WantedBy=multi-user.target' > "$file"
}

# fleet_found: the operator's key, and the aggregator on its machine.
fleet_found() {
    local root=$BOX_WORK/$HUB/root address=$NETWORK.2:8443
    head -c 18 /dev/urandom | base64 > "$CAMPANILE_PASSPHRASE_FILE"
    mkdir -p "$root/etc/campanile" "$root/var/lib/campanile"
    campanile fleet init --name box --operator ada --aggregator-dir "$root/var/lib/campanile/aggregator"
    printf '%s\n' 'state_dir = "/var/lib/campanile/aggregator"' 'listen = "0.0.0.0:8443"' \
        "addresses = [\"$address\"]" 'log_format = "text"' > "$root/etc/campanile/aggregator.toml"
    unit_file "$HUB" campanile-aggregator root /opt/campanile/campanile-aggregator serve
    on "$HUB" systemctl daemon-reload
    on "$HUB" systemctl enable --now campanile-aggregator
    CAMPANILE_URL=https://$address
    CAMPANILE_TOKEN=$(on "$HUB" campanile-aggregator api-token --name box --role admin --ttl 1d)
    export CAMPANILE_URL CAMPANILE_TOKEN
}

# node_start NAME: enrolled, and its agent and steward started. The agent is an ordinary user, the steward is root.
node_start() {
    local root=$BOX_WORK/$1/root
    on "$1" useradd --system campanile
    mkdir -p "$root/etc/campanile"
    printf '%s\n' 'log_format = "text"' '[steward]' 'run_user = "campanile"' '[config]' 'check_interval_s = 5' \
        > "$root/etc/campanile/agent.toml"
    printf '%s\n' 'highest_tier = 2' 'classes = ["observe", "config"]' > "$root/etc/campanile/policy.toml"
    # Enrolled as root, so that the steward is pinned too.
    campanile token create -l "machine=$1" --ttl 1h | on "$1" campanile-agent enroll --token-file - --name "$1"
    on "$1" chown -R campanile:campanile /var/lib/campanile/agent
    unit_file "$1" campanile-steward root /opt/campanile/campanile-agent steward
    unit_file "$1" campanile-agent campanile /opt/campanile/campanile-agent run
    on "$1" systemctl daemon-reload
    on "$1" systemctl enable --now campanile-steward campanile-agent
    eventually 30 is_online "$1"
}

# bundle NODE: the layer of this node is what standard input says, and nothing else is in the bundle.
bundle() {
    rm -rf "$BUNDLE"
    mkdir -p "$BUNDLE/nodes"
    : > "$BUNDLE/fleet.toml"
    cat > "$BUNDLE/nodes/$1.toml"
}

apply() { campanile config apply "$BUNDLE" -m 'box' --yes "$@"; }

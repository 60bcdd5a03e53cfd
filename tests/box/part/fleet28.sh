# 28 machines, each with a network of its own, and an aggregator on another: all from the packages. Heavy, so it runs when
# it is named: make box PARTS=fleet28.
# shellcheck shell=bash

HOSTS=()
for number in $(seq 28); do HOSTS+=("h$number"); done
CENTRE=centre

# Every machine has some watches of its own.
sysctl -q fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288 || true
sysctl -q kernel.keys.maxkeys=20000 || true

# Where this fleet's operator is; that of the other parts is elsewhere.
FIELD=$BOX_WORK/field
mkdir -p "$FIELD"
cp "$CAMPANILE_PASSPHRASE_FILE" "$FIELD/passphrase"

field() {
    CAMPANILE_CONFIG_DIR=$FIELD/operator CAMPANILE_PASSPHRASE_FILE=$FIELD/passphrase \
        CAMPANILE_CA=$FIELD/operator/ca.pem CAMPANILE_URL=https://$NETWORK.40:8443 \
        CAMPANILE_TOKEN=$(cat "$FIELD/token" 2> /dev/null || true) "$BOX_PROGRAMS/campanile" "$@"
}

# packaged NAME NUMBER PACKAGE...: a machine with nothing of ours but these packages.
packaged() {
    local name=$1 number=$2 package
    shift 2
    machine_make "$name" "$number"
    for package in "$@"; do
        cp "$BOX_PACKAGES/$package"_*.deb "$BOX_WORK/$name/root/srv"
    done
    machine_boot "$name"
    on "$name" sh -c 'dpkg --install /srv/*.deb' || return 1
}

centre_up() {
    local state=$BOX_WORK/$CENTRE/root/var/lib/campanile/aggregator
    packaged "$CENTRE" 40 campanile-aggregator
    on "$CENTRE" systemctl stop campanile-aggregator || true
    rm -rf "$FIELD/aggregator"
    CAMPANILE_CONFIG_DIR=$FIELD/operator CAMPANILE_PASSPHRASE_FILE=$FIELD/passphrase "$BOX_PROGRAMS/campanile" \
        fleet init --name field --operator ada --aggregator-dir "$FIELD/aggregator"
    mkdir -p "$state"
    cp -a "$FIELD/aggregator/." "$state/"
    printf '%s\n' 'listen = "0.0.0.0:8443"' "addresses = [\"$NETWORK.40:8443\"]" \
        > "$BOX_WORK/$CENTRE/root/etc/campanile/aggregator.toml"
    on "$CENTRE" chown -R campanile-aggregator: /var/lib/campanile/aggregator
    on "$CENTRE" runuser -u campanile-aggregator -- /usr/bin/campanile-aggregator api-token --name field --role admin \
        --ttl 1d > "$FIELD/token"
    on "$CENTRE" systemctl restart campanile-aggregator
    eventually 60 field status
}

host_up() {
    local name=$1 number=$2
    packaged "$name" "$number" campanile-agent || return 1
    printf '%s\n' 'highest_tier = 2' 'classes = ["observe", "backup", "shell", "command"]' \
        > "$BOX_WORK/$name/root/etc/campanile/policy.toml"
    on "$name" /usr/bin/campanile-agent enroll --token-file - --name "$name" < "$FIELD/enrolment"
    on "$name" systemctl start campanile-agent
}

all_up() {
    local number failed=0
    for number in "${!HOSTS[@]}"; do
        host_up "${HOSTS[$number]}" $((number + 100)) || { echo "${HOSTS[$number]} does not come up" && failed=1; }
    done
    return "$failed"
}

count_of() { field node ls -o json | python3 -c '
import json, sys
print(sum(n["liveness"] == sys.argv[1] for n in json.load(sys.stdin)))' "$1"; }
online_are() { [ "$(count_of online)" = "$1" ]; }
field_is() { field node ls -o json | python3 -c '
import json, sys
sys.exit(not any(n["name"] == sys.argv[1] and n["liveness"] == sys.argv[2] for n in json.load(sys.stdin)))' "$1" "$2"; }

# ran_everywhere: one order, and an answer of each of them.
ran_everywhere() {
    local answers
    answers=$(field run -l 'name=h*' --yes --expect 28 -- cat /etc/hostname | grep -c 'h[0-9]') || true
    echo "$answers answers"
    [ "$answers" -ge 28 ]
}

kill_all() {
    local name
    for name in "${HOSTS[@]}"; do
        on "$name" systemctl show -p NRestarts --value campanile-agent > "$FIELD/$name.restarts"
        on "$name" systemctl kill --signal KILL campanile-agent
    done
}
restarted_all() {
    local name
    for name in "${HOSTS[@]}"; do
        [ "$(on "$name" systemctl show -p NRestarts --value campanile-agent)" -gt "$(cat "$FIELD/$name.restarts")" ] || return 1
    done
}

# figures UNIT MACHINE...: what systemd accounts for, in KiB and ms.
figures() {
    local unit=$1 name
    shift
    for name in "$@"; do
        on "$name" systemctl show -p MemoryCurrent -p CPUUsageNSec "$unit" | tr '\n' ' '
        echo
    done | python3 -c '
import re, sys
rows = [dict(re.findall(r"(\w+)=(\d+)", line)) for line in sys.stdin]
memory = sorted(int(r["MemoryCurrent"]) // 1024 for r in rows if len(r.get("MemoryCurrent", "")) in range(1, 15))
cpu = sorted(int(r["CPUUsageNSec"]) // 1000000 for r in rows if "CPUUsageNSec" in r)
if memory:
    print(f"        {sys.argv[1]}: memory {memory[0]} to {memory[-1]} KiB, median {memory[len(memory) // 2]}; "
          f"CPU since its start {cpu[0]} to {cpu[-1]} ms")' "$unit"
}

wire_of() { ip -o link show master wire | grep -o 'vb-box-[^@:]*' | grep -x "vb-box-$1"; }

check 'the aggregator from its package' centre_up
field token create --uses 28 --ttl 2h > "$FIELD/enrolment" 2> "$FIELD/token.log" || true
before=$SECONDS
check '28 machines, installed and enrolled' all_up
check '28 online' eventually 120 online_are 28
printf '        %s\n' "28 machines booted, installed, enrolled and online within $((SECONDS - before)) s"
check 'one order on all of them' eventually 60 ran_everywhere
figures campanile-agent "${HOSTS[@]}"
figures campanile-steward "${HOSTS[@]}"
figures campanile-aggregator "$CENTRE"
check 'every agent killed' kill_all
check 'and started again by its own systemd' eventually 60 restarted_all
check 'and 28 online' eventually 120 online_are 28
before=$SECONDS
check 'one network cut' ip link set "$(wire_of h7 || echo vb-box-h7)" down
check 'it is offline' eventually 30 field_is h7 offline
printf '        %s\n' "shown as offline within $((SECONDS - before)) s"
check 'and the 27 others are online' online_are 27
before=$SECONDS
check 'its network back' ip link set "$(wire_of h7 || echo vb-box-h7)" up
check 'it is online' eventually 120 field_is h7 online
printf '        %s\n' "online again within $((SECONDS - before)) s"
check 'the aggregator killed' on "$CENTRE" systemctl kill --signal KILL campanile-aggregator
check 'and 28 online' eventually 120 online_are 28
check 'the audit log is whole' says intact field audit verify

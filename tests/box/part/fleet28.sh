# 28 machines, each with a network of its own, and an aggregator on another: all from the packages. Heavy, so it runs when
# it is named: make box PARTS=fleet28 (MACHINES=4 for a quick look).
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016,SC2153

HOSTS=()
for number in $(seq "${MACHINES:-28}"); do HOSTS+=("h$number"); done
ALL=${#HOSTS[@]}
CUT=h$ALL
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
    answers=$(field run -l 'name=h*' --yes --expect "$ALL" -- cat /etc/hostname | grep -c 'h[0-9]') || true
    echo "$answers answers"
    [ "$answers" -ge "$ALL" ]
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

# figures UNIT MACHINE...: what its main process has of memory; machines without a controller account for none.
figures() {
    local unit=$1 name
    shift
    for name in "$@"; do
        on "$name" sh -c 'awk "/^Pss:/ { print \$2 }" "/proc/$(systemctl show -p MainPID --value "$0")/smaps_rollup"' "$unit"
    done 2> /dev/null | sort -n | awk -v unit="$unit" '{ of[NR] = $1 }
        END { if (NR) print "        " unit ": " NR " processes, PSS " of[1] " to " of[NR] " KiB, median " of[int((NR + 1) / 2)] }'
}

# keep_logs: what the machines of this part say, where something failed.
keep_logs() {
    local name
    for name in "$CENTRE" h1 "$CUT"; do
        on "$name" journalctl -o short-precise > "$BOX_LOGS/$name.log" || true
    done
}

wire_of() { ip -o link show master wire | grep -o 'vb-box-[^@:]*' | grep -x "vb-box-$1"; }

check 'the aggregator from its package' centre_up
field token create --uses "$ALL" --ttl 2h > "$FIELD/enrolment" 2> "$FIELD/token.log" || true
before=$SECONDS
check "$ALL machines, installed and enrolled" all_up
check "$ALL online" eventually 120 online_are "$ALL"
stewards_up() {
    local name
    for name in "${HOSTS[@]}"; do
        [ "$(on "$name" systemctl is-active campanile-steward.service || true)" = active ] || { echo "none on $name" && return 1; }
    done
}
check 'the steward of each was woken' eventually 60 stewards_up
printf '        %s\n' "$ALL machines booted, installed, enrolled and online within $((SECONDS - before)) s"
check 'one order on all of them' eventually 60 ran_everywhere
figures campanile-agent "${HOSTS[@]}"
figures campanile-steward "${HOSTS[@]}"
figures campanile-aggregator "$CENTRE"
check 'every agent killed' kill_all
check 'and started again by its own systemd' eventually 60 restarted_all
check "and $ALL online" eventually 120 online_are "$ALL"
before=$SECONDS
check 'one network cut' ip link set "$(wire_of "$CUT" || echo "vb-box-$CUT")" down
check 'it is offline' eventually 30 field_is "$CUT" offline
printf '        %s\n' "shown as offline within $((SECONDS - before)) s"
check "and the others are online" online_are $((ALL - 1))
before=$SECONDS
check 'its network back' ip link set "$(wire_of "$CUT" || echo "vb-box-$CUT")" up
check 'it is online' eventually 120 field_is "$CUT" online
printf '        %s\n' "online again within $((SECONDS - before)) s"
check 'the aggregator killed' on "$CENTRE" systemctl kill --signal KILL campanile-aggregator
check "and $ALL online" eventually 120 online_are "$ALL"
check 'the audit log is whole' says intact field audit verify
[ "$FAILED" = 0 ] || keep_logs

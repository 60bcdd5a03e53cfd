# Machines with a real systemd as process 1: systemd-nspawn over one root folder, each with writes of its own and an
# address on a network that ends at this program. Sourced by run.sh, which runs in namespaces of its own, so that
# whatever happens nothing of this outlives it.
# shellcheck shell=bash

NETWORK=10.87.0
STARTS=0

# Where a version 2 tree of control groups is.
control_groups() {
    local folder
    for folder in /sys/fs/cgroup /sys/fs/cgroup/unified; do
        if [ -e "$folder/cgroup.controllers" ]; then
            echo "$folder"
            return 0
        fi
    done
    return 1
}

# network_up: the wire between the machines; this end is the operator's.
network_up() {
    ip link set lo up
    ip link add wire type bridge
    ip address add "$NETWORK.1/24" dev wire
    ip link set wire up
}

# machine_make NAME NUMBER: its root folder, not booted yet.
machine_make() {
    local folder=$BOX_WORK/$1
    mkdir -p "$folder/upper" "$folder/work" "$folder/root"
    mount -t overlay "box-$1" -o "lowerdir=$BOX_ROOT,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
    echo "$1" > "$folder/root/etc/hostname"
    # The journal outlives a power cut.
    mkdir -p "$folder/root/var/log/journal"
    printf '127.0.0.1 localhost %s\n' "$1" > "$folder/root/etc/hosts"
    printf '%s\n' '[Unit]' 'Before=network.target' '[Service]' 'Type=oneshot' 'RemainAfterExit=yes' \
        "ExecStart=/bin/ip address add $NETWORK.$2/24 dev host0" 'ExecStart=/bin/ip link set host0 up' \
        '[Install]' 'WantedBy=multi-user.target' > "$folder/root/etc/systemd/system/wire.service"
    ln -s ../wire.service "$folder/root/etc/systemd/system/multi-user.target.wants/wire.service"
}

# machine_boot NAME: returns when systemd has started everything. After machine_cut it is a start after a power cut.
machine_boot() {
    local folder=$BOX_WORK/$1 group pid state='' try
    STARTS=$((STARTS + 1))
    group=$(control_groups)/campanile-box-$BOX_ID/$1-$STARTS
    mkdir -p "$group"
    (
        echo 0 > "$group/cgroup.procs"
        exec setsid env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --boot --machine="box-$1" \
            --directory="$folder/root" --register=no --keep-unit --console=pipe --resolv-conf=off --timezone=off \
            --capability=all --system-call-filter='fanotify_init fanotify_mark pidfd_getfd' --network-bridge=wire \
            --bind-ro="$BOX_PROGRAMS:/opt/campanile" < /dev/null >> "$folder/console.log" 2>&1
    ) &
    pid=$!
    echo "$pid" > "$folder/pid"
    for try in $(seq 300); do
        if state=$(machine_init "$pid"); then
            echo "$state" > "$folder/init"
            break
        fi
        kill -0 "$pid" 2> /dev/null || try=300
        [ "$try" != 300 ] || fail "machine $1 does not start: $(tail -n 5 "$folder/console.log")"
        sleep 0.1
    done
    for try in $(seq 600); do
        state=$(on "$1" systemctl is-system-running 2> /dev/null || true)
        case $state in running | degraded) return 0 ;; esac
        sleep 0.1
    done
    fail "machine $1 does not come up, systemd says: ${state:-nothing}"
}

# machine_init PID: its process 1, among the children of the container's program.
machine_init() {
    local child
    for child in $(pgrep -P "$1"); do
        if [ "$(awk '/^NSpid/ { print $NF }' "/proc/$child/status" 2> /dev/null)" = 1 ] &&
            [ "$(cat "/proc/$child/comm" 2> /dev/null)" = systemd ]; then
            echo "$child"
            return 0
        fi
    done
    return 1
}

# machine_cut NAME: ends it at once, as a power cut does.
machine_cut() {
    kill -9 "$(cat "$BOX_WORK/$1/init")"
    while kill -0 "$(cat "$BOX_WORK/$1/pid")" 2> /dev/null; do sleep 0.1; done
}

# on NAME COMMAND...: runs it as root on that machine.
on() {
    local init
    init=$(cat "$BOX_WORK/$1/init")
    shift
    nsenter -t "$init" -m -u -i -n -p -C -r -w -- env -i PATH=/opt/campanile:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LANG=C.UTF-8 TERM=dumb "$@"
}

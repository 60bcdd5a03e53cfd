# One emulated machine with a kernel, a disk and control groups of its own, on a wire that ends at this program.
# Sourced by run.sh, which runs in namespaces of its own.
# shellcheck shell=bash

HERE=10.88.0.1
THERE=10.88.0.2

# network_up: the wire; this end is the aggregator's and the operator's.
network_up() {
    ip link set lo up
    ip tuntap add wire mode tap
    ip address add "$HERE/24" dev wire
    ip link set wire up
}

# machine_make: a disk of its own to write on.
machine_make() {
    cp --sparse=always "$VM_IMAGE/disk" "$VM_WORK/disk"
    # The key must be readable by nobody else, wherever the image lies.
    install -m 600 "$VM_IMAGE/key" "$VM_WORK/key"
}

# machine_boot: returns when it answers. After machine_cut it is a start after a power cut.
machine_boot() {
    local try
    # What the disk was told to write is in the file, whatever happens to this process.
    setsid qemu-system-x86_64 -machine pc -accel tcg,tb-size=256 -cpu max -m 1024 -display none -nodefaults \
        -no-user-config -no-reboot -monitor none -serial "file:$VM_WORK/console" \
        -kernel "$VM_IMAGE/kernel" -initrd "$VM_IMAGE/initrd" \
        -append 'root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0' \
        -drive "file=$VM_WORK/disk,format=raw,if=virtio,cache=writeback" -device virtio-rng-pci \
        -netdev tap,id=wire,ifname=wire,script=no,downscript=no -device virtio-net-pci,netdev=wire,romfile= \
        < /dev/null > "$VM_WORK/emulator.log" 2>&1 &
    echo $! > "$VM_WORK/emulator"
    # Its end is told by whoever brings it about.
    disown
    for try in $(seq 600); do
        if vm true 2> /dev/null; then return 0; fi
        kill -0 "$(cat "$VM_WORK/emulator")" 2> /dev/null || try=600
        [ "$try" != 600 ] || break
        sleep 0.5
    done
    fail "the machine does not start: $(tail -n 5 "$VM_WORK/emulator.log" "$VM_WORK/console")"
}

# machine_cut: its power fails.
machine_cut() {
    kill -9 "$(cat "$VM_WORK/emulator")"
    while kill -0 "$(cat "$VM_WORK/emulator")" 2> /dev/null; do sleep 0.1; done
    rm -f "$VM_WORK/session"
}

# vm COMMAND...: runs it as root on the machine.
vm() {
    ssh -q -i "$VM_WORK/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o ConnectTimeout=3 -o ServerAliveInterval=5 -o ControlMaster=auto -o ControlPersist=yes \
        -o ControlPath="$VM_WORK/session" "root@$THERE" -- "$(printf '%q ' "$@")"
}

# vm_write FILE: what standard input says.
vm_write() { vm sh -c "cat > '$1'"; }

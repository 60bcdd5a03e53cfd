# The power fails in the middle of an apply, with a part of it on the disk: afterwards the node is wholly what it was or wholly what it should be.
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016

FILES=300
generation() {
    local number
    for number in $(seq -w "$FILES"); do printf '[file."/etc/vm/f%s"]\ncontent = "%s\\n"\n' "$number" "$1"; done | bundle
}
# holding WORD: how many of the files say so.
holding() { vm sh -c "cat /etc/vm/f* | grep -cx $1" || true; }
all_hold() { [ "$(holding "$1")" = "$FILES" ]; }
# on_disk: how many of the files on the disk say `two`, before the machine mends anything. Of a copy: mounting replays the
# file system's own journal.
on_disk() {
    cp --sparse=always "$VM_WORK/disk" "$VM_WORK/copy"
    mkdir -p "$VM_WORK/look"
    mount -o loop "$VM_WORK/copy" "$VM_WORK/look"
    grep -lx two "$VM_WORK"/look/etc/vm/f* | wc -l
    umount "$VM_WORK/look"
    rm "$VM_WORK/copy"
}
whole() { all_hold one || all_hold two; }

generation one
check 'a generation of many files' apply
check 'is there' all_hold one
generation two
(apply > "$VM_WORK/apply.log" 2>&1 || true) &
applying=$!
check 'a part of the next is on the disk' vm sh -c 'until [ "$(grep -lx two /etc/vm/f* | wc -l)" -ge 30 ]; do :; done; sync'
machine_cut
printf '        the power fails with %s of %s files written on the disk\n' "$(on_disk)" "$FILES"
machine_boot
check 'started again, the node is online' eventually 180 is_online vm
wait "$applying"
check 'it is whole: all of the old or all of the new' eventually 180 whole
check 'the same generation again is applied' eventually 180 apply
check 'and all of it is there' all_hold two
check 'nothing that was half-written is left' is_not vm sh -c 'find /etc/vm -type f ! -name "f[0-9][0-9][0-9]" | grep .'
check 'the node reports what it should be' eventually 60 says applied campanile config status vm -o json

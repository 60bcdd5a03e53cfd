# Every kind of resource but packages, made, found as it should be, changed and taken away again.
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016

key='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMockMockMockMockMockMockMockMockMockMockMock'

bundle alpha <<T
[file."/etc/motd"]
content = "configured\n"
mode = "0640"
backup = ".old"
notify = ["command:note"]
[directory."/srv/data"]
mode = "0750"
owner = "deploy"
group = "deploy"
[link."/srv/current"]
target = "/srv/data"
[group.deploy]
gid = 4242
[group.extra]
[user.deploy]
uid = 4242
group = "deploy"
groups = ["extra"]
shell = "/bin/bash"
home = "/srv/deploy"
[authorized_key."deploy/laptop"]
key = "$key laptop"
options = 'from="10.0.0.0/8"'
[sysctl."net.ipv4.ip_forward"]
value = "1"
[host."10.9.8.7"]
names = ["db.internal", "db"]
[service."tick.service"]
unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
drop_in = "[Service]\nEnvironment=COLOUR=green\n"
enabled = true
state = "running"
[timer.hello]
on_calendar = "*-*-* 03:00"
command = ["/bin/echo", "50% of \$HOME", "two words"]
user = "deploy"
[firewall."inet/box"]
rules = """
set office { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
chain input { type filter hook input priority 0; policy accept; ip saddr @office tcp dport 22 accept; }
"""
[mount."/srv/scratch"]
device = "tmpfs"
fstype = "tmpfs"
options = ["size=4m", "noexec"]
[module.floppy]
ensure = "absent"
[command.once]
run = ["touch", "/srv/once"]
creates = "/srv/once"
[command.note]
run = ["touch", "/srv/noted"]
T
check 'bundle: no mistakes' campanile config lint "$BUNDLE"
check 'plan: changes pend' code 10 campanile config plan "$BUNDLE"
check 'apply: done' apply
check 'plan afterwards: nothing to change' code 0 campanile config plan "$BUNDLE"
check 'file: content, mode and group' says '640 root configured' on alpha sh -c 'stat -c "%a %U" /etc/motd | tr "\n" " "; cat /etc/motd'
check 'file: the old bytes are kept beside it' on alpha test -f /etc/motd.old
check 'directory: mode and owner' says '750 deploy deploy' on alpha stat -c '%a %U %G' /srv/data
check 'link: target' says /srv/data on alpha readlink /srv/current
check 'group: number' says 'deploy:x:4242:' on alpha getent group deploy
check 'user: number and group' says 'uid=4242(deploy) gid=4242(deploy)' on alpha id deploy
check 'user: further groups' says 'deploy extra' on alpha id -nG deploy
check 'user: home and shell' says ':/srv/deploy:/bin/bash' on alpha getent passwd deploy
check 'authorized_key: line, mode and owner' says "600 deploy from=\"10.0.0.0/8\" $key" \
    on alpha sh -c 'stat -c "%a %U" ~deploy/.ssh/authorized_keys | tr "\n" " "; cat ~deploy/.ssh/authorized_keys'
check 'sysctl: now' says 'net.ipv4.ip_forward = 1' on alpha sysctl net.ipv4.ip_forward
check 'sysctl: at boot' says 'net.ipv4.ip_forward' on alpha cat /etc/sysctl.d/50-campanile.conf
check 'host: the resolver knows it' says '10.9.8.7' on alpha getent hosts db.internal
check 'service: runs' on alpha systemctl is-active --quiet tick.service
check 'service: starts at boot' says enabled on alpha systemctl is-enabled tick.service
check 'service: with its drop-in' says COLOUR=green on alpha systemctl show -p Environment tick.service
check 'timer: waits' on alpha systemctl is-active --quiet hello.timer
check 'timer: its command runs as written, as its user' eventually 10 says '50% of $HOME two words' \
    on alpha sh -c 'systemctl start hello.service && journalctl -o cat -u hello.service _UID=4242'
check 'firewall: table' says 'elements = { 10.0.0.1, 10.0.0.2 }' on alpha nft list table inet box
check 'mount: mounted with its options' says 'noexec' on alpha findmnt -no OPTIONS /srv/scratch
check 'mount: line of fstab' says '/srv/scratch tmpfs' on alpha cat /etc/fstab
check 'module: kept out' says 'blacklist floppy' on alpha cat /etc/modprobe.d/campanile-floppy.conf
check 'command: ran once' on alpha test -f /srv/once
check 'command: ran when notified' on alpha test -f /srv/noted

# A second generation changes some of it.
on alpha rm -f /srv/noted
sed -i -e 's/configured/configured anew/' -e 's/COLOUR=green/COLOUR=blue/' -e 's/size=4m/size=8m/' -e 's/03:00/04:00/' \
    -e 's/10.0.0.1, /10.0.0.3, /' -e '/^groups = /d' -e 's/"db.internal", "db"/"db.internal"/' "$BUNDLE/nodes/alpha.toml"
pid=$(on alpha systemctl show -p MainPID --value tick.service)
check 'change: apply' apply
check 'change: nothing to change afterwards' code 0 campanile config plan "$BUNDLE"
check 'change: file notifies its command' on alpha test -f /srv/noted
check 'change: drop-in, service restarted' says COLOUR=blue on alpha sh -c "cat /proc/\$(systemctl show -p MainPID --value tick.service)/environ; ! kill -0 $pid"
check 'change: timer' says '04:00' on alpha systemctl show -p TimersCalendar hello.timer
check 'change: mount has its new size' says 'size=8192k' on alpha findmnt -no OPTIONS /srv/scratch
check 'change: firewall' says '10.0.0.3' on alpha nft list table inet box

# A step that fails takes everything back, files and the machine.
cp "$BUNDLE/nodes/alpha.toml" "$BOX_WORK/good.toml"
sed -i -e 's/configured anew/never/' -e 's/size=8m/size=2m/' -e 's/COLOUR=blue/COLOUR=red/' -e 's/value = "1"/value = "0"/' \
    "$BUNDLE/nodes/alpha.toml"
printf '%s\n' '[user.newcomer]' '[service."broken.service"]' 'unit = "[Service]\nExecStart=/bin/false\nType=oneshot\n"' \
    'state = "running"' 'after = ["file:/etc/motd", "mount:/srv/scratch", "service:tick.service", "user:newcomer"]' \
    >> "$BUNDLE/nodes/alpha.toml"
check 'failure: the apply says so' code 3 apply
check 'failure: file is back' says 'configured anew' on alpha cat /etc/motd
check 'failure: mount is back' says 'size=8192k' on alpha findmnt -no OPTIONS /srv/scratch
check 'failure: service is back' says COLOUR=blue on alpha systemctl show -p Environment tick.service
check 'failure: sysctl is back' says '= 1' on alpha sysctl net.ipv4.ip_forward
check 'failure: the new user is gone' is_not on alpha id newcomer
check 'failure: the new unit is gone' is_not on alpha systemctl cat broken.service
cp "$BOX_WORK/good.toml" "$BUNDLE/nodes/alpha.toml"
check 'failure: the good generation again' apply
check 'failure: nothing to change afterwards' code 0 campanile config plan "$BUNDLE"

bundle alpha <<T
[file."/etc/motd"]
ensure = "absent"
[directory."/srv/data"]
ensure = "absent"
[link."/srv/current"]
ensure = "absent"
[user.deploy]
ensure = "absent"
[group.extra]
ensure = "absent"
[host."10.9.8.7"]
ensure = "absent"
[service."tick.service"]
enabled = false
state = "stopped"
[timer.hello]
ensure = "absent"
[firewall."inet/box"]
ensure = "absent"
[mount."/srv/scratch"]
device = "tmpfs"
fstype = "tmpfs"
ensure = "absent"
T
check 'absent: apply' apply
check 'absent: nothing to change afterwards' code 0 campanile config plan "$BUNDLE"
check 'absent: file, directory, link' is_not on alpha sh -c 'ls -d /etc/motd /srv/data || test -L /srv/current'
check 'absent: user and group' is_not on alpha sh -c 'id deploy || getent group extra'
check 'absent: host' is_not on alpha getent hosts db.internal
check 'absent: service stopped and not enabled' says 'inactive disabled' \
    on alpha sh -c 'echo $(systemctl is-active tick.service) $(systemctl is-enabled tick.service)'
check 'absent: timer' is_not on alpha systemctl cat hello.timer
check 'absent: firewall' is_not on alpha nft list table inet box
check 'absent: mount' is_not on alpha sh -c 'findmnt /srv/scratch || grep scratch /etc/fstab'

# A module is the whole machine's, also that under the container: one that nothing uses comes and goes.
if [ -n "$(on alpha modprobe -n -v dummy 2> /dev/null)" ] && ! [ -e /sys/module/dummy ]; then
    printf '[module.dummy]\n' | bundle alpha
    check 'module: apply' apply
    check 'module: loaded' on alpha test -e /sys/module/dummy
    check 'module: at boot' says dummy on alpha cat /etc/modules-load.d/campanile-dummy.conf
    printf '[module.dummy]\nensure = "absent"\n' | bundle alpha
    check 'module: absent' apply
    check 'module: unloaded' is_not on alpha test -e /sys/module/dummy
else
    skip 'module: load and unload' "the kernel $(uname -r) has no module dummy to load in here"
fi

# The life of the packages on a machine of their own: installed, enrolled, killed, upgraded, removed, purged. Sourced by
# the parts `deb` and `rpm`, which say how each is done.
# shellcheck shell=bash

# newcomer NAME NUMBER: a machine with nothing of ours but the packages in /srv.
newcomer() {
    machine_make "$1" "$2"
    mkdir -p "$BOX_WORK/$1/root/srv/later"
    cp "$BOX_PACKAGES"/*."$KIND" "$BOX_WORK/$1/root/srv"
    cp "$BOX_PACKAGES"/later/campanile-agent[_-]*."$KIND" "$BOX_WORK/$1/root/srv/later"
    machine_boot "$1"
}

unit_is() { [ "$(on "$MACHINE" systemctl is-active "$2" || true)" = "$1" ]; }
restarts() { on "$MACHINE" systemctl show -p NRestarts --value campanile-agent; }
restarted() { [ "$(restarts)" -gt "$1" ]; }
owner_of() { on "$MACHINE" stat -c '%U %a' "$1"; }
enrol() { campanile token create -l "machine=$MACHINE" --ttl 1h | on "$MACHINE" /usr/bin/campanile-agent enroll --token-file - --name "$MACHINE"; }
says_true() { campanile run "$MACHINE" --yes -- true; }
nothing_left() {
    local left
    left=$(on "$MACHINE" find / -xdev \( -path /proc -o -path /sys -o -path /srv -o -path /opt -o -path /usr/share/doc \
        -o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/rpm -o -path /usr/lib/sysimage -o -path /run/systemd \
        -o -path /var/cache \) -prune -o -name '*campanile*' -print)
    [ -z "$left" ] || { echo "left: $left" && return 1; }
}

package_life() {
    local before
    check 'installs' install_packages
    check 'the steward listens' unit_is active campanile-steward.socket
    check 'the agent waits for its enrolment' unit_is inactive campanile-agent.service
    check 'a policy for looking and backing up' says '"observe", "backup"' on "$MACHINE" cat /etc/campanile/policy.toml
    check 'enrols as root' enrol
    check 'what root enrolled is the agent'"'"'s' says 'campanile-agent 600' owner_of /var/lib/campanile/agent/identity.json
    check 'starts' on "$MACHINE" systemctl start campanile-agent
    check 'online' eventually 30 is_online "$MACHINE"
    check 'doctor finds nothing wrong' on "$MACHINE" /usr/bin/campanile-agent doctor
    check 'a command is denied by the policy' code 5 says_true
    on "$MACHINE" sh -c "printf '%s\n' 'highest_tier = 2' 'classes = [\"observe\", \"backup\", \"shell\"]' > /etc/campanile/policy.toml"
    check 'and runs when root allows it' eventually 20 says_true
    before=$(restarts)
    on "$MACHINE" systemctl kill --signal KILL campanile-agent
    check 'killed, it is started again' eventually 20 restarted "$before"
    check 'and is online again' eventually 30 is_online "$MACHINE"
    before=$(restarts)
    on "$MACHINE" systemctl kill --signal STOP campanile-agent
    check 'stopped in its tracks, the watchdog ends it' eventually 60 restarted "$before"
    check 'and it is online once more' eventually 30 is_online "$MACHINE"
    on "$MACHINE" systemctl kill --signal KILL campanile-steward
    check 'the steward killed, an order wakes it' eventually 20 says_true
    on "$MACHINE" sh -c 'echo "# by hand" >> /etc/campanile/agent.toml; echo "# by hand" >> /etc/campanile/policy.toml'
    check 'upgrades' upgrade_packages
    check 'to the later release' says 99.0.0 installed_version
    check 'settings are kept' says '# by hand' on "$MACHINE" cat /etc/campanile/agent.toml
    check 'the policy is not touched' says '# by hand' on "$MACHINE" cat /etc/campanile/policy.toml
    check 'online after the upgrade' eventually 30 is_online "$MACHINE"
    check 'orders run after the upgrade' eventually 20 says_true
    check 'goes back' downgrade_packages
    check 'to the release before' is_not says 99.0.0 installed_version
    check 'settings are kept on the way back' says '# by hand' on "$MACHINE" cat /etc/campanile/agent.toml
    check 'online after going back' eventually 30 is_online "$MACHINE"
    check 'systemd has nothing to complain of' is_not says 'campanile' on "$MACHINE" systemctl --failed --no-legend
    check 'removes' remove_packages
    check 'nothing runs any more' is_not on "$MACHINE" pgrep -x campanile-agent
    check 'the identity stays until it is purged' on "$MACHINE" test -e /var/lib/campanile/agent/identity.json
    check 'purges' purge_packages
    check 'nothing is left' nothing_left
}

# first_minutes: an aggregator and a node on one machine, from packages and what `init` prints. What is typed runs as typed.
first_minutes() {
    local line
    check 'the aggregator installs' install_aggregator
    on "$MACHINE" sh -c 'printf "%s\n" "correct horse battery staple" > /srv/passphrase'
    check 'init founds a fleet and starts its aggregator' init_says 'is founded'
    check 'the state is the service'"'"'s' says 'campanile-aggregator 600' owner_of /var/lib/campanile/aggregator/ca.key.pem
    check 'nothing there is root'"'"'s' is_not on "$MACHINE" sh -c 'find /var/lib/campanile/aggregator -user root | grep .'
    check 'it serves' unit_is active campanile-aggregator.service
    check 'its doctor finds nothing wrong' on "$MACHINE" /usr/bin/campanile-aggregator doctor
    check 'init again says what is there' init_says 'was founded here before'
    line=$(on "$MACHINE" cat /srv/init.txt | sed -n '/^(curl/,/^TOKEN$/p')
    check 'the line installs, enrols and brings the node online' says 'online after' on "$MACHINE" sh -c "cd /srv && $line"
    check 'the agent runs' unit_is active campanile-agent.service
    check 'doctor finds nothing wrong' on "$MACHINE" /usr/bin/campanile-agent doctor
}

init_says() {
    on "$MACHINE" sh -c '/usr/bin/campanile-aggregator init --passphrase-file /srv/passphrase > /srv/init.txt' && says "$1" on "$MACHINE" cat /srv/init.txt
}

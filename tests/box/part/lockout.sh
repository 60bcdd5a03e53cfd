# A node that a change cuts off takes it back by itself, whatever dies meanwhile.
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016

lockout() {
    bundle beta << T
[file."/etc/window"]
content = "$1\n"
[firewall."inet/lockout"]
rules = """
chain input { type filter hook input priority 0; policy drop; }
chain output { type filter hook output priority 0; policy drop; }
"""
T
}
is_cut() { on beta nft list table inet lockout; }
reports() { says "$1" campanile config status beta -o json; }
window() { on beta cat /etc/window; }

printf '[file."/etc/window"]\ncontent = "before\\n"\n' | bundle beta
check 'a file to go back to' apply

lockout first
check 'a firewall that drops everything: the apply says that it was taken back' code 7 apply --confirm-within 10s
check 'the firewall is gone' is_not is_cut
check 'the file is back' says before window
check 'the node is online' eventually 120 is_online beta
check 'and reports it' eventually 120 reports reverted

# Steward and agent die within the window and stay dead: the guardian is a unit of its own.
for unit in campanile-steward campanile-agent; do
    on beta mkdir -p "/run/systemd/system/$unit.service.d"
    on beta sh -c "printf '[Service]\nRestart=no\n' > /run/systemd/system/$unit.service.d/box.conf"
done
on beta systemctl daemon-reload
lockout second
(apply --confirm-within 15s > "$BOX_WORK/second.log" 2>&1 || true) &
applying=$!
check 'cut off again' eventually 30 is_cut
check 'a unit watches over it' says campanile-revert- on beta systemctl list-units --no-legend 'campanile-revert-*'
on beta systemctl kill --signal KILL campanile-steward campanile-agent
check 'agent and steward are dead' eventually 10 says 'failed failed' \
    on beta sh -c 'echo $(systemctl is-active campanile-steward campanile-agent)'
check 'the firewall is gone without them' eventually 40 is_not is_cut
check 'and the file is back' says before window
check 'the unit has ended' eventually 10 is_not says campanile-revert- on beta systemctl list-units --no-legend 'campanile-revert-*'
on beta rm -rf /run/systemd/system/campanile-steward.service.d /run/systemd/system/campanile-agent.service.d
on beta systemctl daemon-reload
on beta systemctl restart campanile-steward campanile-agent
check 'started again, the node is online' eventually 120 is_online beta
check 'and reports it' eventually 120 reports reverted
wait "$applying"

# The power goes within the window.
lockout third
(apply --confirm-within 60s > "$BOX_WORK/third.log" 2>&1 || true) &
applying=$!
check 'cut off a third time' eventually 30 is_cut
check 'with the new file' says third window
machine_cut beta
machine_boot beta
check 'after a power cut the firewall is gone' is_not is_cut
check 'and the file is back' eventually 20 says before window
check 'the node is online' eventually 120 is_online beta
check 'and reports it' eventually 120 reports reverted
wait "$applying"

printf '[file."/etc/window"]\ncontent = "after\\n"\n' | bundle beta
check 'what does not cut it off is applied as ever' apply --confirm
check 'and stays' says after window

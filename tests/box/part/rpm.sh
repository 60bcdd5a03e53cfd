# The .rpm packages, with rpm. The machine's programs come from elsewhere, so that what they need is not looked up.
# shellcheck shell=bash disable=SC2034

# shellcheck source=tests/box/package.sh
source ./package.sh
KIND=rpm
MACHINE='delta'
install_packages() { on delta sh -c 'rpm -i --nodeps /srv/campanile-agent-*.rpm /srv/campanile-[0-9]*.rpm'; }
upgrade_packages() { on delta sh -c 'rpm -U --replacepkgs --nodeps /srv/campanile-agent-*.rpm'; }
remove_packages() { on delta rpm -e campanile-agent campanile; }
# rpm knows no purge: what it leaves is removed by hand, as the guide says.
purge_packages() { on delta rm -rf /var/lib/campanile /etc/campanile; }

newcomer delta 5
package_life
machine_cut delta

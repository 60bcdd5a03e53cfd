# The .deb packages, with dpkg.
# shellcheck shell=bash disable=SC2034

# shellcheck source=tests/box/package.sh
source ./package.sh
KIND=deb
MACHINE='gamma'
install_packages() { on gamma sh -c 'dpkg -i /srv/campanile-agent_*.deb /srv/campanile_*.deb'; }
upgrade_packages() { on gamma sh -c 'dpkg --force-confold -i /srv/later/campanile-agent_*.deb'; }
downgrade_packages() { on gamma sh -c 'dpkg --force-confold --force-downgrade -i /srv/campanile-agent_*.deb'; }
# shellcheck disable=SC2016  # a field of dpkg
installed_version() { on gamma dpkg-query -W -f '${Version}' campanile-agent; }
remove_packages() { on gamma dpkg -r campanile-agent campanile; }
purge_packages() { on gamma dpkg -P campanile-agent campanile; }

install_aggregator() { on gamma sh -c 'dpkg -i /srv/campanile-aggregator_*.deb /srv/campanile_*.deb'; }

newcomer gamma 4
package_life
if on gamma sh -c 'command -v curl || command -v wget' > /dev/null; then
    first_minutes
else
    skip 'first five minutes' 'the machine has neither curl nor wget'
fi
machine_cut gamma

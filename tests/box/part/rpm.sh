# The .rpm packages, with dnf and rpm. The machine's libraries and programs come from elsewhere: a package that says so stands
# in for them.
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016,SC2034

# shellcheck source=tests/box/package.sh
source ./package.sh
KIND=rpm
MACHINE='delta'

# A repository in a folder, with all that our packages ask of a distribution in one package.
repository() {
    on delta sh -e -c '
        mkdir -p /srv/repo
        {
            printf "%s\n" "Name: distribution" "Version: 1" "Release: 1" "Summary: stands in" "License: MIT" \
                "BuildArch: noarch" "Provides: systemd = 252"
            rpm -qp --requires /srv/*.rpm | grep -Ev "^(rpmlib|config)\(|^systemd" | sort -u | sed "s/^/Provides: /"
            printf "%s\n" "%description" "Stands in." "%files"
        } > /srv/distribution.spec
        rpmbuild --quiet -bb --define "_rpmdir /srv/repo" /srv/distribution.spec
        cp /srv/*.rpm /srv/later/*.rpm /srv/repo
        createrepo_c -q /srv/repo'
}

packager() {
    on delta dnf -q -y --releasever=9 --repofrompath=l,/srv/repo --repo=l --nogpgcheck --setopt=install_weak_deps=0 "$@"
}
install_packages() { packager install 'campanile-agent < 99' campanile; }
upgrade_packages() { packager upgrade campanile-agent; }
downgrade_packages() { packager downgrade 'campanile-agent < 99'; }
installed_version() { on delta rpm -q campanile-agent; }
remove_packages() { packager remove campanile-agent campanile; }
# rpm knows no purge: what it leaves is removed by hand, as the guide says.
purge_packages() { on delta rm -rf /var/lib/campanile /etc/campanile; }

newcomer delta 5
check 'a repository' repository
package_life
machine_cut delta

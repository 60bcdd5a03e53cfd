# Packages of dnf: the other node has no apt, and a repository in a folder.
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016

# rpm_of NAME VERSION [REQUIRES]
rpm_of() {
    on beta sh -c "cat > /srv/rpm.spec" << T
Name: $1
Version: $2
Release: 1
Summary: for a test
License: MIT
BuildArch: noarch
${3:+Requires: $3}
%description
For a test.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc
printf '#!/bin/sh\necho $1 $2\n' > %{buildroot}/usr/bin/$1
echo $2 > %{buildroot}/etc/$1.conf
%files
%attr(755, root, root) /usr/bin/$1
%config(noreplace) /etc/$1.conf
T
    on beta rpmbuild --quiet -bb --define '_rpmdir /srv/rpm' /srv/rpm.spec
}
repository() {
    rpm_of box-dep 1.0 && rpm_of box-tool 1.0 box-dep && rpm_of box-tool 2.0 box-dep && on beta createrepo_c -q /srv/rpm
}
installed() { on beta rpm -q --qf '%{VERSION}-%{RELEASE}\n' "$1"; }
tool() {
    bundle beta << T
[file."/etc/yum.repos.d/box.repo"]
content = "[box]\nname=box\nbaseurl=file:///srv/rpm\ngpgcheck=0\n"
[package.box-tool]
after = ["file:/etc/yum.repos.d/box.repo"]
$1
T
}
breaks() {
    printf '%s\n' '[command.breaks]' 'run = ["false"]' 'unless = ["false"]' 'after = ["package:box-tool"]' >> "$BUNDLE/nodes/beta.toml"
}

on beta sh -c 'rm -f /usr/bin/apt-get; mkdir -p /srv/rpm; rpm --initdb'
check 'repository: made' repository
printf '[package.box-nothing]\n' | bundle beta
check 'a package that there is not: the plan says so' says 'dnf knows no package `box-nothing`' campanile config plan "$BUNDLE"
tool 'version = "1.0"'
check 'pinned, from a source that comes with it: apply' apply
check 'pinned: that version' says '1.0-1' installed box-tool
check 'pinned: what it needs came along' says '1.0-1' installed box-dep
check 'pinned: nothing to change afterwards' code 0 campanile config plan "$BUNDLE"
tool ''
check 'any version: nothing to change' code 0 campanile config plan "$BUNDLE"
tool 'version = "2.0-1"'
check 'newer: the plan says from what to what' says '1.0-1 -> box-tool-2.0-1' campanile config plan "$BUNDLE"
check 'newer: apply' apply
check 'newer: that version' says 'box-tool 2.0' on beta box-tool
tool 'version = "1.0"'
check 'older: apply' apply
check 'older: that version' says 'box-tool 1.0' on beta box-tool
tool 'version = "3.0"'
check 'a version that there is not: the plan says so' says 'dnf knows no package `box-tool-3.0`' campanile config plan "$BUNDLE"
check 'a version that there is not: the apply changes nothing' code 3 apply
check 'and it is still the old one' says 'box-tool 1.0' on beta box-tool

on beta sh -c 'echo by hand >> /etc/box-tool.conf'
tool 'version = "2.0"'
breaks
check 'failure after a new version: apply' code 3 apply
check 'failure after a new version: the old one is back' says 'box-tool 1.0' on beta box-tool
check 'failure after a new version: its settings too' says 'by hand' on beta cat /etc/box-tool.conf
tool 'version = "2.0"'
check 'newer again' apply
tool 'version = "1.0"'
breaks
check 'failure after an old version: apply' code 3 apply
check 'failure after an old version: the new one is back' says 'box-tool 2.0' on beta box-tool
tool 'ensure = "absent"'
breaks
check 'failure after a removal: apply' code 3 apply
check 'failure after a removal: it is back' says '2.0-1' installed box-tool
tool 'ensure = "absent"'
check 'absent: apply' apply
check 'absent: gone' is_not on beta test -e /usr/bin/box-tool
check 'absent: nothing to change afterwards' code 0 campanile config plan "$BUNDLE"

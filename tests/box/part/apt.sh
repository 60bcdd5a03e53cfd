# Packages of apt: a repository in a folder, with two versions of one package and one that it needs.
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016

# deb NAME VERSION [DEPENDS]
deb() {
    local folder=/srv/deb/tree file=/srv/deb/$1_$2_all.deb
    on alpha mkdir -p "$folder/DEBIAN" "$folder/etc" "$folder/usr/bin"
    on alpha sh -c "cat > $folder/DEBIAN/control" << T
Package: $1
Version: $2
Architecture: all
Maintainer: Box <box@localhost>
Depends: ${3:-}
Description: for a test
T
    [ -n "${3:-}" ] || on alpha sed -i '/^Depends/d' "$folder/DEBIAN/control"
    on alpha sh -c "printf '#!/bin/sh\necho $1 $2\n' > $folder/usr/bin/$1 && chmod 755 $folder/usr/bin/$1"
    on alpha sh -c "echo $2 > $folder/etc/$1.conf && echo /etc/$1.conf > $folder/DEBIAN/conffiles"
    on alpha dpkg-deb --root-owner-group -b "$folder" "$file"
    on alpha rm -r "$folder"
    on alpha sh -c "dpkg-deb -f $file; echo Filename: ./$1_$2_all.deb; echo Size: \$(stat -c %s $file)
        echo SHA256: \$(sha256sum < $file | cut -d ' ' -f 1); echo" | on alpha sh -c 'cat >> /srv/deb/Packages'
}
repository() { deb box-dep 1.0 && deb box-tool 1.0 box-dep && deb box-tool 2.0 box-dep; }
installed() { on alpha dpkg-query -W -f '${db:Status-Abbrev} ${Version}\n' "$1"; }
# tool TOML: the bundle with what is said of the package.
tool() {
    bundle alpha << T
[file."/etc/apt/sources.list.d/box.list"]
content = "deb [trusted=yes] file:/srv/deb ./\n"
notify = ["command:apt-update"]
[command.apt-update]
run = ["apt-get", "update"]
[package.box-tool]
after = ["command:apt-update"]
$1
T
}

on alpha mkdir -p /srv/deb
check 'repository: made' repository
printf '[package.box-nothing]\n' | bundle alpha
check 'a package that there is not: the plan says so' says 'box-nothing' code 3 campanile config plan "$BUNDLE"
tool 'version = "1.0"'
check 'pinned, from a source that comes with it: apply' apply
check 'pinned: that version' says 'ii  1.0' installed box-tool
check 'pinned: what it needs came along' says 'ii  1.0' installed box-dep
check 'pinned: nothing to change afterwards' code 0 campanile config plan "$BUNDLE"
tool ''
check 'any version: nothing to change' code 0 campanile config plan "$BUNDLE"
tool 'version = "2.0"'
check 'newer: the plan says from what to what' says '1.0 -> 2.0' campanile config plan "$BUNDLE"
check 'newer: apply' apply
check 'newer: that version' says 'box-tool 2.0' on alpha box-tool
tool 'version = "1.0"'
check 'older: apply' apply
check 'older: that version' says 'box-tool 1.0' on alpha box-tool
tool 'version = "3.0"'
check 'a version that there is not: the plan says so' says 'version' code 3 campanile config plan "$BUNDLE"
check 'a version that there is not: the apply changes nothing' code 3 apply
check 'and it is still the old one' says 'box-tool 1.0' on alpha box-tool

# The package changes, then a step after it fails: it changes back, with its settings as they were.
on alpha sh -c 'echo by hand >> /etc/box-tool.conf'
tool 'version = "2.0"'
printf '%s\n' '[command.breaks]' 'run = ["false"]' 'unless = ["false"]' 'after = ["package:box-tool"]' >> "$BUNDLE/nodes/alpha.toml"
check 'failure after a new version: apply' code 3 apply
check 'failure after a new version: the old one is back' says 'box-tool 1.0' on alpha box-tool
check 'failure after a new version: its settings too' says 'by hand' on alpha cat /etc/box-tool.conf
tool 'ensure = "absent"'
printf '%s\n' '[command.breaks]' 'run = ["false"]' 'unless = ["false"]' 'after = ["package:box-tool"]' >> "$BUNDLE/nodes/alpha.toml"
check 'failure after a removal: apply' code 3 apply
check 'failure after a removal: it is back' says 'ii  1.0' installed box-tool
check 'failure after a removal: its settings too' says 'by hand' on alpha cat /etc/box-tool.conf
tool 'ensure = "absent"'
check 'absent: apply' apply
check 'absent: gone' is_not on alpha test -e /usr/bin/box-tool
check 'absent: nothing to change afterwards' code 0 campanile config plan "$BUNDLE"

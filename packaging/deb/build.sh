# One .deb from what is staged. Sourced by scripts/package.sh.
# shellcheck shell=bash

: "${work:?a scratch folder}"

case $(uname -m) in
    x86_64) DEB_ARCHITECTURE=amd64 ;;
    aarch64) DEB_ARCHITECTURE=arm64 ;;
    *) DEB_ARCHITECTURE=$(uname -m) ;;
esac
# Programs with all that helps to debug them are only tried.
DEB_LEVEL=6
[ "$PROFILE" != dev ] || DEB_LEVEL=0

# deb_depends NAME TREE: the libraries that its program is linked to, in the versions that it needs.
deb_depends() {
    local folder=$work/shlibs-$1
    mkdir -p "$folder/debian"
    printf 'Source: campanile\n\nPackage: %s\nArchitecture: any\n' "$1" > "$folder/debian/control"
    # shellcheck disable=SC2016  # a variable of that program
    (cd "$folder" && dpkg-shlibdeps -O "$2"/usr/bin/*) | sed -n 's/^shlibs:Depends=//p'
}

# make_deb NAME FOLDER
make_deb() {
    local name=$1 tree=$work/deb/$1 script file
    local depends='' recommends=''
    mkdir -p "$tree/DEBIAN"
    stage "$name" "$tree" /lib/systemd/system
    mkdir -p "$tree/usr/share/doc/$name"
    deb_copyright > "$tree/usr/share/doc/$name/copyright"
    deb_changelog | gzip -9n > "$tree/usr/share/doc/$name/changelog.Debian.gz"
    gzip -9n < CHANGELOG.md > "$tree/usr/share/doc/$name/changelog.gz"
    if [ -e "packaging/deb/$name.lintian-overrides" ]; then
        put_as 644 "packaging/deb/$name.lintian-overrides" "$tree/usr/share/lintian/overrides/$name"
    fi
    for script in postinst prerm postrm; do
        [ ! -e "packaging/deb/$name.$script" ] || put_as 755 "packaging/deb/$name.$script" "$tree/DEBIAN/$script"
    done
    if [ -d "$tree/etc" ]; then
        (cd "$tree" && find etc -type f -printf '/%p\n' | sort) > "$tree/DEBIAN/conffiles"
    fi
    depends=$(deb_depends "$name" "$tree")
    case $name in
        campanile-agent) depends+=', init-system-helpers (>= 1.54), systemd (>= 251), tzdata' ;;
        campanile-aggregator) depends+=', init-system-helpers (>= 1.54), systemd (>= 251), tzdata' recommends='campanile' ;;
        campanile) recommends='bash-completion' ;;
    esac
    (cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) > "$tree/DEBIAN/md5sums"
    settle "$tree"
    {
        printf '%s: %s\n' Package "$name" Version "$VERSION-$REVISION" Architecture "$DEB_ARCHITECTURE" \
            Maintainer "$MAINTAINER" Installed-Size "$(du -k -s --apparent-size --exclude DEBIAN "$tree" | cut -f 1)" \
            Depends "$depends"
        [ -z "$recommends" ] || printf 'Recommends: %s\n' "$recommends"
        printf '%s: %s\n' Section admin Priority optional Homepage "$HOMEPAGE" Description "${SUMMARY[$name]}"
        printf ' %s\n' "${DESCRIPTION[$name]//$'\n'/$'\n '}"
    } > "$tree/DEBIAN/control"
    touch --date="@$SOURCE_DATE_EPOCH" "$tree/DEBIAN/control" "$tree/DEBIAN"
    file=$2/${name}_${VERSION}-${REVISION}_$DEB_ARCHITECTURE.deb
    dpkg-deb --root-owner-group -Zxz "-z$DEB_LEVEL" --build "$tree" "$file" > /dev/null
}

deb_copyright() {
    cat << T
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: campanile
Source: $HOMEPAGE

Files: *
Copyright: 2026 Campanile contributors
License: Apache-2.0
 On Debian systems, the full text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
T
}

deb_changelog() {
    cat << T
campanile ($VERSION-$REVISION) unstable; urgency=medium

  * Changes are listed in changelog.gz.

 -- $MAINTAINER  $(date --rfc-email --date="@$SOURCE_DATE_EPOCH")
T
}

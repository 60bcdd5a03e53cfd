# One .rpm from what is staged. Sourced by scripts/package.sh.
# shellcheck shell=bash

: "${work:?a scratch folder}"

# Programs with all that helps to debug them are only tried.
RPM_LEVEL=19
[ "$PROFILE" != dev ] || RPM_LEVEL=1

# make_rpm NAME FOLDER
make_rpm() {
    local name=$1 tree=$work/rpm-tree/$1 top=$work/rpm
    stage "$name" "$tree" /usr/lib/systemd/system
    put 644 LICENSE "$tree/usr/share/licenses/$name"
    put_as 644 CHANGELOG.md "$tree/usr/share/doc/$name/CHANGELOG.md"
    # Where each distribution looks for what its packages bring.
    if [ -d "$tree/usr/share/zsh" ]; then
        mv "$tree/usr/share/zsh/vendor-completions" "$tree/usr/share/zsh/site-functions"
    fi
    settle "$tree"
    {
        printf '%s: %s\n' Name "$name" Version "$VERSION" Release "$REVISION" Summary "${SUMMARY[$name]^}" \
            License Apache-2.0 URL "$HOMEPAGE" Packager "$MAINTAINER"
        [ "$name" = campanile ] || printf '%s\n' 'Requires: systemd >= 251' 'Requires: tzdata'
        printf '%s\n' '%description' "${DESCRIPTION[$name]}" \
            '%install' "cp -a $tree/. %{buildroot}" '%files'
        rpm_files "$tree"
        [ ! -e "packaging/rpm/$name.scriptlets" ] || cat "packaging/rpm/$name.scriptlets"
        printf '%s\n' '%changelog' "* $(date --date="@$SOURCE_DATE_EPOCH" '+%a %b %d %Y') $MAINTAINER - $VERSION-$REVISION" \
            '- Changes are listed in CHANGELOG.md.'
    } > "$work/$name.spec"
    rpmbuild --quiet -bb "$work/$name.spec" --buildroot "$work/rpm-root-$name" \
        --define "_topdir $top" --define "_rpmdir $work/rpm-out" --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
        --define '__os_install_post %{nil}' --define 'debug_package %{nil}' --define '_build_id_links none' \
        --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \
        --define '_buildhost campanile' --define "_binary_payload w$RPM_LEVEL.zstdio"
    cp "$work/rpm-out/$name-$VERSION-$REVISION.$(uname -m).rpm" "$2"
}

# rpm_files TREE: every file, with what it is.
rpm_files() {
    local path
    echo '%defattr(-, root, root)'
    (cd "$1" && find . -type f -printf '/%P\n' | sort) | while read -r path; do
        case $path in
            /etc/*) echo "%config(noreplace) $path" ;;
            /usr/share/doc/*) echo "%doc $path" ;;
            /usr/share/licenses/*) echo "%license $path" ;;
            *) echo "$path" ;;
        esac
    done
    (cd "$1" && find . -type d \( -path './usr/share/doc/*' -o -path './usr/share/licenses/*' -o -path ./etc/campanile \
        -o -path ./usr/share/campanile-agent \) -printf '%%dir /%P\n' | sort)
}

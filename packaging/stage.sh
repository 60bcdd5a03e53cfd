# Lays out what each package installs, as files below a folder. Sourced by scripts/package.sh, which has made the
# programs, the manual pages, the completions, and what the aggregator serves.
# shellcheck shell=bash

# put MODE FILE... FOLDER/: copies files, for root.
put() {
    local mode=$1
    shift
    install -D -m "$mode" -t "${@: -1}" "${@:1:$#-1}"
}

# put_as MODE FILE TARGET
put_as() { install -D -m "$1" "$2" "$3"; }

# stage_program NAME TREE: the program without symbols, which nobody needs to read a stack trace of ours.
stage_program() {
    put 755 "$PROGRAMS/$1" "$2/usr/bin"
    strip --strip-all "$2/usr/bin/$1"
}

# stage_manual SECTION PREFIX TREE
stage_manual() {
    put 644 "$MADE/man/$2"*."$1" "$3/usr/share/man/man$1"
    gzip -9n "$3/usr/share/man/man$1"/*
}

# stage_agent TREE UNITS: UNITS is where the distribution keeps units of packages.
stage_agent() {
    local tree=$1
    stage_program campanile-agent "$tree"
    stage_manual 8 campanile-agent "$tree"
    put 644 systemd/campanile.slice systemd/campanile-agent.service systemd/campanile-steward.{service,socket} "$tree$2"
    put 644 systemd/sysusers.d/campanile-agent.conf "$tree/usr/lib/sysusers.d"
    put 644 systemd/tmpfiles.d/campanile-agent.conf "$tree/usr/lib/tmpfiles.d"
    put 644 packaging/files/agent.toml "$tree/etc/campanile"
    # Put in place once, by the installation, and never touched again.
    put 644 packaging/files/policy.toml "$tree/usr/share/campanile-agent"
    put 644 docs/guide/{settings,settings-keys,orders,config,backup,troubleshooting}.md "$tree/usr/share/doc/campanile-agent"
}

stage_aggregator() {
    local tree=$1
    stage_program campanile-aggregator "$tree"
    stage_manual 8 campanile-aggregator "$tree"
    put 644 systemd/campanile-aggregator.service "$tree$2"
    put 644 systemd/sysusers.d/campanile-aggregator.conf "$tree/usr/lib/sysusers.d"
    put 644 systemd/tmpfiles.d/campanile-aggregator.conf "$tree/usr/lib/tmpfiles.d"
    put 644 packaging/files/aggregator.toml "$tree/etc/campanile"
    put 644 docs/guide/{settings,settings-keys,disaster-recovery,upgrade}.md "$tree/usr/share/doc/campanile-aggregator"
    # What it serves to nodes, which may reach no other place.
    put 644 "$SERVED"/* "$tree/usr/share/campanile/packages"
}

stage_cli() {
    local tree=$1
    stage_program campanile "$tree"
    stage_manual 1 campanile "$tree"
    put_as 644 "$MADE/campanile.bash" "$tree/usr/share/bash-completion/completions/campanile"
    put_as 644 "$MADE/_campanile" "$tree/usr/share/zsh/vendor-completions/_campanile"
    put_as 644 "$MADE/campanile.fish" "$tree/usr/share/fish/vendor_completions.d/campanile.fish"
    put 644 README.md "$tree/usr/share/doc/campanile"
    # The whole guide, where operators are; aggregators serve it at /docs/guide/.
    put 644 docs/guide/*.md "$tree/usr/share/doc/campanile/docs/guide"
}

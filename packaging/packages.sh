# What the packages are called and what they say of themselves. Sourced by scripts/package.sh.
# shellcheck shell=bash disable=SC2034

PACKAGES=(campanile-agent campanile-aggregator campanile)

# The crate whose program each holds.
declare -A CRATE=([campanile-agent]=campanile-agent [campanile-aggregator]=campanile-aggregator [campanile]=campanile-cli)

MAINTAINER='Campanile maintainers <maintainers@campanile.example>'
HOMEPAGE='https://campanile.example'

declare -A SUMMARY=(
    [campanile-agent]='fleet management: agent and steward of one node'
    [campanile-aggregator]='fleet management: aggregator, API and dashboard'
    [campanile]='fleet management: command line of operators'
)

# Lines of 72 characters at most.
declare -A DESCRIPTION=(
    [campanile-agent]='The agent samples this node and holds its link to the aggregator, as a
user without privileges. The steward carries out what operators signed,
within the policy that root wrote on this node. Backups run as a program
of their own.'
    [campanile-aggregator]='Takes what the agents of a fleet report, judges its health, hands on
signed orders and configuration, keeps backups that a node cannot
destroy, and serves people over HTTPS. It needs one port.'
    [campanile]='Watches, backs up, configures and commands a fleet from the machine of
an operator, whose signing key never leaves it.'
)

# stage NAME TREE UNITS
stage() {
    case $1 in
        campanile-agent) stage_agent "$2" "$3" ;;
        campanile-aggregator) stage_aggregator "$2" "$3" ;;
        campanile) stage_cli "$2" ;;
    esac
}

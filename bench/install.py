"""What is downloaded to install us, and what a network without UDP costs."""

import os
import re
import subprocess

from figures import Figure

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGES = {
    "package.agent.deb": "campanile-agent_",
    "package.agent.rpm": "campanile-agent-",
    "package.cli.deb": "campanile_",
    "package.aggregator.deb": "campanile-aggregator_",
}
TRANSPORT = ("transport.fallback", "transport.climb")
# Of the table that scripts/matrix.sh prints.
CASE, FALLBACK, CLIMB = "UDP dropped", 3, 4
# Of what scripts/vm.sh prints.
SERVICE = {
    "service.online": r"online within ([\d.]+) s",
    "service.agent.memory": r"campanile-agent: memory [\d.]+ MiB, at most ([\d.]+) MiB",
    "service.steward.memory": r"campanile-steward: memory [\d.]+ MiB, at most ([\d.]+) MiB",
    "service.agent.cpu": r"campanile-agent: CPU ([\d.]+) %",
}


def packed(options):
    """The folder with packages of the programs that are measured, compressed as they are when they are published."""
    folder = os.path.join(options.scratch, "packages")
    if not os.path.exists(folder):
        environment = {**os.environ, "PROGRAMS": options.bin_dir, "OUT": folder}
        subprocess.run(["scripts/package.sh", "deb", "rpm"], cwd=REPOSITORY, env=environment, check=True,
                       stdout=subprocess.DEVNULL)
    return folder


def packages(options):
    """What is downloaded."""
    folder = packed(options)
    for key, prefix in PACKAGES.items():
        name = next(name for name in os.listdir(folder) if name.startswith(prefix) and name.endswith(key[-4:]))
        yield Figure(key, os.path.getsize(os.path.join(folder, name)) / 1e6)


def transport(options):
    """An agent whose network begins to drop UDP, until it is online over TCP; and back, with QUIC tried again every
    two seconds at first."""
    if os.geteuid() != 0:
        yield from (Figure(key, missing="needs root, for network namespaces") for key in TRANSPORT)
        return
    environment = {**os.environ, "CAMPANILE_MATRIX_BIN": options.bin_dir}
    ended = subprocess.run(["scripts/matrix.sh", "--short"], cwd=REPOSITORY, env=environment, check=True,
                           stdout=subprocess.PIPE, text=True)
    row = next(line for line in ended.stdout.splitlines() if line.startswith(CASE))
    cells = [cell for cell in row.split("  ") if cell]
    yield Figure(TRANSPORT[0], float(cells[FALLBACK]))
    yield Figure(TRANSPORT[1], float(cells[CLIMB]))


def service(options):
    """A machine that has nothing yet, emulated: from its packages to a node that is online, and what systemd accounts for
    after a minute."""
    if os.geteuid() != 0:
        yield from (Figure(key, missing="needs root, for a machine's network") for key in SERVICE)
        return
    ended = subprocess.run(["scripts/vm.sh", "--if-possible", "install"], cwd=REPOSITORY, check=True,
                           env={**os.environ, "PACKAGES": packed(options), "PROGRAMS": options.bin_dir},
                           stdout=subprocess.PIPE, text=True)
    if not ended.stdout:
        yield from (Figure(key, missing="`make vm` has made no disk yet", is_skipped=True) for key in SERVICE)
        return
    for key, pattern in SERVICE.items():
        yield Figure(key, float(re.search(pattern, ended.stdout)[1]))

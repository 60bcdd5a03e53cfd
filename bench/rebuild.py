"""What it takes until a fresh node is what a lost one was: 1 GiB from the aggregator's store, verified."""

import os
import shutil
import subprocess
import sys
import time

import backup
import machine
from figures import Figure, median, spread
from fleet import Fleet, settle

RUNS = 3
POLICY = "bench"
SETTLE_SECONDS = 5
SECONDS_MAX = 1500


def rebuild(options):
    """Two real agents with their stewards on this machine: the first saves the tree, and is lost with it; the second is
    made what it was by `campanile node rebuild`, from the command to its end. Then the same again."""
    master = os.path.join(options.scratch, "backup-master")
    if not os.path.isdir(master):
        subprocess.run([sys.executable, "-B", backup.__file__, master], check=True)
    times = []
    for number in range(RUNS):
        folder = os.path.join(options.scratch, f"rebuild-{number}")
        with Fleet(options.bin_dir, folder, 2) as fleet:
            fleet.wait_all_online()
            settle(SETTLE_SECONDS)
            # One passphrase for all that follows, as a person would.
            fleet.campanile_in("key", "unlock", "--for", "60m", seconds=60)
            try:
                times.append(once(fleet, master, os.path.join(options.scratch, f"rebuild-tree-{number}")))
            finally:
                fleet.campanile_in("key", "lock", seconds=60)
    yield Figure("backup.rebuild.time", median(times), detail=spread(times))


def once(fleet, master, tree):
    """Seconds of a rebuild; the tree is compared."""
    old, new = fleet.nodes
    try:
        subprocess.run(["cp", "-a", master, tree], check=True)
        fleet.campanile_in("node", "label", old, "bench=yes", seconds=60)
        bundle = os.path.join(fleet.folder, "bundle")
        write_bundle(fleet, bundle, tree)
        fleet.campanile_in("config", "apply", bundle, "--yes", seconds=300)
        fleet.campanile_in("backup", "run", old, seconds=SECONDS_MAX)
        saved = backup.digest(tree)
        machine.end(fleet.pid(old))
        machine.end(fleet.pid(f"{old}/steward"))
        if not machine.wait_until(lambda: fleet.liveness(old) == "offline", 60, 0.1):
            raise TimeoutError(f"{old} was ended and is not offline")
        shutil.rmtree(tree)
        os.sync()
        identity = os.path.join(fleet.folder, "operator", "recovery", "escrow.key")
        began = time.monotonic()
        fleet.campanile_in("node", "rebuild", old, "--as", new, "--identity", identity, "--yes", seconds=SECONDS_MAX)
        passed = time.monotonic() - began
        if backup.digest(tree) != saved:
            raise RuntimeError("what was rebuilt is not what was saved")
        return passed
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def write_bundle(fleet, bundle, tree):
    with open(os.path.join(fleet.folder, "operator", "escrow.pub"), encoding="ascii") as file:
        recipient = file.read().split()[-1]
    os.makedirs(os.path.join(bundle, "groups"))
    with open(os.path.join(bundle, "fleet.toml"), "w", encoding="utf-8"):
        pass
    with open(os.path.join(bundle, "groups", "bench.toml"), "w", encoding="utf-8") as file:
        file.write(f'selector = "bench=yes"\n[backup.{POLICY}]\npaths = ["{tree}"]\nschedule = "0 0 1 1 *"\n'
                   f'keep = {{ last = 3 }}\nescrow = ["{recipient}"]\n')

"""What orders cost: pings, a command on every node, the agent's and the aggregator's share."""

import os
import subprocess
import time

import machine
from figures import Figure, median, percentile, spread
from fleet import Fleet, settle

NODES = 28
PINGS = 200
PROCESSES = 20
RUNS = 30
SWARM = 1000
SETTLE_SECONDS = 15


def envelope(options):
    """Processor time that a node spends on one signed order before it does anything."""
    done = subprocess.run([os.path.join(options.bin_dir, "envelope")], capture_output=True, text=True, check=True)
    values = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}
    yield Figure("order.verify", values["verify_tier2_28_nodes"], detail=values)


def orders(options):
    """28 real agents with their stewards: pings, and `campanile run -- true` on all of them."""
    with Fleet(options.bin_dir, os.path.join(options.scratch, "orders"), NODES) as fleet:
        fleet.wait_all_online()
        settle(SETTLE_SECONDS)
        yield from pings(fleet)
        # One passphrase for all that follows, as a person would.
        fleet.campanile_in("key", "unlock", "--for", "30m", seconds=60)
        try:
            yield from runs(fleet)
        finally:
            fleet.campanile_in("key", "lock", seconds=60)


def pings(fleet):
    times = []
    for _ in range(PINGS):
        began = time.monotonic()
        answers = fleet.api.get("/ping")
        times.append((time.monotonic() - began) * 1000)
        if sum(1 for answer in answers if answer["rttMs"] is not None) != NODES:
            raise RuntimeError("not every agent answered a ping")
    yield Figure("ping.resident", percentile(times, 50), detail=spread(times))
    times = [timed(fleet, "ping") for _ in range(PROCESSES)]
    yield Figure("ping.process", percentile(times, 50), detail=spread(times))


def runs(fleet):
    agents = [fleet.pid(node) for node in fleet.nodes]
    stewards = [fleet.pid(f"{node}/steward") for node in fleet.nodes]
    aggregator = fleet.pid("aggregator")
    # Without orders first: what is left is theirs.
    idle = {}
    began = time.monotonic()
    before = {pid: machine.cpu_seconds(pid) for pid in [*agents, *stewards, aggregator]}
    settle(10)
    for pid, cpu in before.items():
        idle[pid] = (machine.cpu_seconds(pid) - cpu) / (time.monotonic() - began)
    began = time.monotonic()
    before = {pid: machine.cpu_seconds(pid) for pid in before}
    times = [timed(fleet, "run", "-l", "name=*", "--", "true") for _ in range(RUNS)]
    passed = time.monotonic() - began
    cost = {pid: machine.cpu_seconds(pid) - cpu - idle[pid] * passed for pid, cpu in before.items()}
    yield Figure("run.process", percentile(times, 50), detail=spread(times))
    yield Figure("order.agent_cpu", median([cost[pid] for pid in agents]) * 1000 / RUNS)
    yield Figure("order.steward_cpu", median([cost[pid] for pid in stewards]) * 1000 / RUNS)
    yield Figure("order.aggregator_cpu", cost[aggregator] * 1000 / RUNS)


def timed(fleet, *arguments):
    """Milliseconds of a whole process of the command line."""
    began = time.monotonic()
    fleet.campanile_in(*arguments, seconds=60)
    return (time.monotonic() - began) * 1000


def swarm_orders(options):
    """1,000 simulated agents that answer an order at once: what it costs the aggregator."""
    with Fleet(options.bin_dir, os.path.join(options.scratch, "swarm-orders"), 1) as fleet:
        settle(SETTLE_SECONDS)
        with open(os.path.join(options.scratch, "swarm-orders.log"), "ab") as log:
            child = subprocess.Popen(
                [os.path.join(options.bin_dir, "swarm"), "--dir", fleet.folder, "--agents", str(SWARM), "--seconds",
                 "90"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        fleet.children.append(child)

        def is_up():
            try:
                return fleet.online() > SWARM
            except OSError:
                # The swarm restarts the aggregator to tell it the interval.
                return False

        if not machine.wait_until(is_up, 240, 0.5):
            raise TimeoutError("the swarm did not come online")
        fleet.campanile_in("key", "unlock", "--for", "30m", seconds=60)
        settle(10)
        pid = fleet.pid("aggregator")
        began, before = time.monotonic(), machine.cpu_seconds(pid)
        settle(10)
        idle = (machine.cpu_seconds(pid) - before) / (time.monotonic() - began)
        costs, times = [], []
        for _ in range(5):
            began, before = time.monotonic(), machine.cpu_seconds(pid)
            times.append(timed(fleet, "run", "-l", "name=swarm-*", "--", "true"))
            costs.append((machine.cpu_seconds(pid) - before - idle * (time.monotonic() - began)) * 1000)
        fleet.campanile_in("key", "lock", seconds=60)
        yield Figure("order.swarm_cpu", median(costs), detail={"agents": SWARM, "perTargetMs": median(costs) / SWARM})
        yield Figure("order.swarm_time", median(times), detail=spread(times))

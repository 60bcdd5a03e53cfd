"""The measurements. Each part starts what it needs, gives figures and leaves nothing."""

import os
import random
import re
import signal
import subprocess
import time

import backup
import config
import continuous
import install
import machine
import orders
import rebuild
from figures import Figure, median, percentile, spread
from fleet import Fleet, rounds, settle

MEBIBYTE = 1024 * 1024
FLEET_NODES = 28
SETTLE_SECONDS = 15


def binaries(options):
    """Sizes on disk."""
    for key, name in (("agent.binary", "campanile-agent"), ("aggregator.binary", "campanile-aggregator")):
        yield Figure(key, os.path.getsize(os.path.join(options.bin_dir, name)) / 1e6)


def agent(options):
    """One agent and one aggregator alone on a loopback of their own: nobody asks anything while it is measured."""
    machine.enter_private_network()
    with Fleet(options.bin_dir, os.path.join(options.scratch, "one"), 1) as fleet:
        node = fleet.nodes[0]
        yield from at_one_hertz(fleet, node, options.seconds)
        yield new_sessions(fleet, node, options.sessions)
        yield without_agents(fleet, node, options.rest_seconds)
        yield at_rest(fleet, node, options.rest_seconds)


def at_one_hertz(fleet, node, seconds):
    settle(SETTLE_SECONDS)
    pid = fleet.pid(node)
    values = len(fleet.api.get(f"/nodes/{node}/values")["values"])
    held, held_at = rounds(fleet.api, node), time.monotonic()
    # Asking is traffic, so it ends before the counters are first read and begins after they were last read.
    fleet.api.close()
    settle(1)
    cpu, wire, began = machine.cpu_seconds(pid), machine.loopback_bytes(), time.monotonic()
    seen = [machine.memory(pid)]
    while time.monotonic() - began < seconds:
        settle(min(5, seconds))
        seen.append(machine.memory(pid))
    cpu, wire = machine.cpu_seconds(pid) - cpu, machine.loopback_bytes() - wire
    passed = time.monotonic() - began
    pace = (rounds(fleet.api, node) - held) / (time.monotonic() - held_at)
    first, last = seen[0][0], seen[-1][0]
    yield Figure("agent.pss", median([pss for pss, _ in seen]) / MEBIBYTE, detail={"seconds": passed})
    yield Figure("agent.anon", median([anon for _, anon in seen]) / MEBIBYTE)
    yield Figure("agent.growth", (last - first) / first * 100, detail={"seconds": passed})
    if pace < 0.5:
        for key in ("agent.cpu", "agent.wire"):
            yield Figure(key, missing=f"the agent sends {pace:.2f} samples a second")
    else:
        count = pace * passed
        yield Figure("agent.cpu", cpu * 1000 / count, detail={"rounds": count})
        yield Figure("agent.wire", wire / count, detail={"rounds": count})
    yield Figure("agent.values", values)


def new_sessions(fleet, node, count):
    """What the aggregator spends on an agent that comes back: handshake, roster, registry. Its work in the same
    time without a new session is taken off."""
    aggregator = fleet.pid("aggregator")
    began, before = time.monotonic(), machine.cpu_seconds(aggregator)
    settle(10)
    idle = (machine.cpu_seconds(aggregator) - before) / (time.monotonic() - began)
    known = reconnects(fleet, node)
    fleet.api.close()
    settle(1)
    costs = []
    for _ in range(count):
        began, before = time.monotonic(), machine.cpu_seconds(aggregator)
        kill(fleet, node, signal.SIGKILL)
        fleet.start(node)
        settle(3)
        costs.append(machine.cpu_seconds(aggregator) - before - idle * (time.monotonic() - began))
    machine.wait_until(lambda: reconnects(fleet, node) - known >= count, 15, 0.2)
    made = reconnects(fleet, node) - known
    if made != count:
        return Figure("handshake.cpu", missing=f"{made} sessions came of {count} restarts")
    return Figure("handshake.cpu", median(costs) * 1000, detail={"sessions": count})


def reconnects(fleet, node):
    connections = fleet.api.get("/connections")["items"]
    return next((one["reconnects"] for one in connections if one["name"] == node), -1)


def without_agents(fleet, node, seconds):
    kill(fleet, node, signal.SIGTERM)
    fleet.api.close()
    settle(5)
    aggregator = fleet.pid("aggregator")
    began, before = time.monotonic(), machine.cpu_seconds(aggregator)
    settle(seconds)
    cpu = machine.cpu_seconds(aggregator) - before
    return Figure("aggregator.rest_cpu", cpu * 1000 / (time.monotonic() - began))


def at_rest(fleet, node, seconds):
    """The agent connected, its interval a minute, over a window without a round."""
    settings = os.path.join(fleet.folder, "nodes", node, "agent.toml")
    with open(settings, encoding="utf-8") as file:
        text = file.read()
    with open(settings, "w", encoding="utf-8") as file:
        # Before the first table.
        file.write("interval_ms = 60000\n" + re.sub(r"(?m)^interval_ms.*\n", "", text))
    fleet.start(node)
    settle(5)
    pid = fleet.pid(node)
    if not machine.is_running(pid):
        return Figure("agent.idle_cpu", missing="the agent refuses an interval of a minute")
    began, before = time.monotonic(), machine.cpu_seconds(pid)
    settle(seconds)
    cpu = machine.cpu_seconds(pid) - before
    return Figure("agent.idle_cpu", cpu * 1000 / (time.monotonic() - began))


def kill(fleet, part, sign):
    """Ends one of the fleet's processes and waits until it is gone."""
    pid = fleet.pid(part)
    os.kill(pid, sign)
    if not machine.wait_until(lambda: not machine.is_running(pid), 10, 0.001):
        raise TimeoutError(f"{part} does not end")
    fleet.forget_ended()


def fleet28(options):
    """28 real agents: what the aggregator costs, how soon a loss is seen, how soon all are back."""
    with Fleet(options.bin_dir, os.path.join(options.scratch, "fleet"), FLEET_NODES) as fleet:
        yield from aggregator_cost(fleet, options)
        for word, sign in (("kill", signal.SIGKILL), ("stop", signal.SIGTERM)):
            times = [time_to_offline(fleet, node, sign) for node in chosen(fleet.nodes, options.losses)]
            for share in (50, 99):
                yield Figure(f"offline.{word}.p{share}", percentile(times, share), detail=spread(times))
        times = [time_to_all_back(fleet) for _ in range(options.restarts)]
        yield Figure("restart.all_back", median(times), detail=spread(times))


def chosen(nodes, count):
    """So many, each in turn, in an order that a seed fixes."""
    order = list(nodes)
    random.Random(28).shuffle(order)
    return [order[index % len(order)] for index in range(count)]


def aggregator_cost(fleet, options):
    fleet.wait_all_online()
    fleet.api.close()
    settle(SETTLE_SECONDS)
    pid = fleet.pid("aggregator")
    began, before = time.monotonic(), machine.cpu_seconds(pid)
    settle(options.fleet_seconds)
    cpu, passed = machine.cpu_seconds(pid) - before, time.monotonic() - began
    pss, anon = machine.memory(pid)
    yield Figure("aggregator.cpu", cpu * 1000 / passed, detail={"seconds": passed})
    yield Figure("aggregator.pss", pss / MEBIBYTE, detail={"seconds": passed, "anonMebibytes": anon / MEBIBYTE})


def time_to_offline(fleet, node, sign):
    """From the signal to the first answer of the API that says so."""
    fleet.wait_online(node)
    # Anywhere between two samples.
    settle(random.random())
    pid = fleet.pid(node)
    began = time.monotonic()
    os.kill(pid, sign)
    if not machine.wait_until(lambda: fleet.liveness(node) == "offline", 15, 0.002):
        raise TimeoutError(f"{node} was not offline 15 s after signal {sign}")
    passed = time.monotonic() - began
    machine.wait_until(lambda: not machine.is_running(pid), 10)
    fleet.forget_ended()
    fleet.start(node)
    return passed


def time_to_all_back(fleet):
    """From the start of a new aggregator, a second after the old one was killed, to a session with every agent."""
    fleet.wait_all_online()
    settle(5)
    fleet.api.close()
    kill(fleet, "aggregator", signal.SIGKILL)
    settle(1)
    began = time.monotonic()
    fleet.start("aggregator")

    def is_back():
        try:
            return len(fleet.api.get("/connections?limit=100")["items"]) >= fleet.count
        except (OSError, RuntimeError):
            return False

    if not machine.wait_until(is_back, 90, 0.01):
        raise TimeoutError("not all agents were back 90 s after the aggregator")
    return time.monotonic() - began


def swarm(options, agents):
    """Simulated agents of one process on a real aggregator."""
    keys = (f"swarm.{agents}.memory", f"swarm.{agents}.cpu")
    program = os.path.join(options.bin_dir, "swarm")
    if not os.path.exists(program):
        yield from (Figure(key, missing="there is no program `swarm`", is_skipped=True) for key in keys)
        return
    with Fleet(options.bin_dir, os.path.join(options.scratch, "swarm"), 1) as fleet:
        settle(SETTLE_SECONDS)
        pid = fleet.pid("aggregator")
        alone, _ = machine.memory(pid)
        with open(os.path.join(options.scratch, "swarm.log"), "ab") as log:
            child = subprocess.Popen(
                [program, "--dir", fleet.folder, "--agents", str(agents), "--seconds", str(options.swarm_seconds)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        fleet.children.append(child)
        seen, began = [], None
        deadline = time.monotonic() + options.swarm_seconds + 120 + agents / 10
        while child.poll() is None and time.monotonic() < deadline:
            settle(1)
            if fleet.online() > agents:
                began = began or (time.monotonic(), machine.cpu_seconds(pid))
                seen.append((time.monotonic(), machine.cpu_seconds(pid), machine.memory(pid)[0]))
        if len(seen) < 5:
            yield from (Figure(key, missing=f"the swarm of {agents} was not online for 5 s") for key in keys)
            return
        memory = median([pss for _, _, pss in seen]) - alone
        yield Figure(keys[0], memory / agents / 1024, detail={"agents": agents, "aloneBytes": alone})
        passed, cpu = seen[-1][0] - began[0], seen[-1][1] - began[1]
        yield Figure(keys[1], cpu * 1000 / passed, detail={"seconds": passed})


PARTS = {
    "binaries": (binaries, ("agent.binary", "aggregator.binary")),
    "packages": (install.packages, tuple(install.PACKAGES)),
    "transport": (install.transport, install.TRANSPORT),
    "service": (install.service, tuple(install.SERVICE)),
    "agent": (agent, ("agent.pss", "agent.anon", "agent.growth", "agent.cpu", "agent.wire", "agent.values",
                      "handshake.cpu", "aggregator.rest_cpu", "agent.idle_cpu")),
    "fleet": (fleet28, ("aggregator.cpu", "aggregator.pss", "offline.kill.p50", "offline.kill.p99",
                        "offline.stop.p50", "offline.stop.p99", "restart.all_back")),
    "envelope": (orders.envelope, ("order.verify",)),
    "orders": (orders.orders, ("ping.resident", "ping.process", "run.process", "order.agent_cpu",
                               "order.steward_cpu", "order.aggregator_cpu")),
    "config": (config.config, ("config.push", "config.unchanged", "config.steward_cpu", "config.drift",
                               "config.plan_all", "config.plan_none")),
    "config-peers": (config.peers, ("config.push_ansible", "config.push_salt")),
    "config-files": (config.files, ("config.files", "config.files_same")),
    "backup": (backup.backup, tuple(backup.figures_of("own"))),
    "backup-peer": (backup.peers, tuple(key for peer in backup.PEERS for key in backup.figures_of(peer))),
    "backup-continuous": (continuous.continuous, ("backup.continuous",)),
    "rebuild": (rebuild.rebuild, ("backup.rebuild.time",)),
    "orders-1000": (orders.swarm_orders, ("order.swarm_cpu", "order.swarm_time")),
    "swarm-1000": (lambda options: swarm(options, 1000), ("swarm.1000.memory", "swarm.1000.cpu")),
    "swarm-5000": (lambda options: swarm(options, 5000), ("swarm.5000.memory", "swarm.5000.cpu")),
}

"""Figures, their budgets, and the table they are printed in."""

import json
import math
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Budget:
    """What a figure must not exceed and what it aims at; with is_least, what it must reach."""

    what: str
    unit: str
    must: float | None = None
    aim: float | None = None
    is_least: bool = False


BUDGETS = {
    "agent.pss": Budget("agent, at 1 Hz: memory (PSS)", "MiB", 6, 4),
    "agent.anon": Budget("agent: of it anonymous", "MiB"),
    "agent.growth": Budget("agent: growth over the run", "%", 10, 2),
    "agent.cpu": Budget("agent: CPU per round", "ms", 0.9, 0.4),
    "agent.idle_cpu": Budget("agent: CPU at rest (one round a minute)", "ms/s"),
    "agent.wire": Budget("agent: wire per round, both ways", "B", 600, 400),
    "agent.values": Budget("agent: values per round", "values", 60, None, is_least=True),
    "agent.binary": Budget("agent: binary, stripped", "MB", 8, 5),
    "aggregator.binary": Budget("aggregator: binary, stripped", "MB"),
    "package.agent.deb": Budget("package of the agent, .deb", "MB"),
    "package.agent.rpm": Budget("package of the agent, .rpm", "MB"),
    "package.cli.deb": Budget("package of the command line, .deb", "MB"),
    "package.aggregator.deb": Budget("package of the aggregator, .deb, with the others in it", "MB"),
    "transport.fallback": Budget("UDP dropped in a session, until online over TCP", "s"),
    "transport.climb": Budget("UDP is back, until the session is on QUIC", "s"),
    "service.online": Budget("packages installed, enrolled and online, emulated machine", "s", 60),
    "service.agent.memory": Budget("agent under systemd: largest memory (control group)", "MiB", 20),
    "service.steward.memory": Budget("steward under systemd: largest memory (control group)", "MiB"),
    "service.agent.cpu": Budget("agent under systemd: CPU of an emulated processor, at 1 Hz", "%"),
    "handshake.cpu": Budget("aggregator: CPU per new session", "ms", 0.3, 0.2),
    "aggregator.rest_cpu": Budget("aggregator: CPU without agents", "ms/s"),
    "aggregator.cpu": Budget("aggregator, 28 agents: CPU", "ms/s", 4, 1.5),
    "aggregator.pss": Budget("aggregator, 28 agents: memory (PSS)", "MiB", 40, 20),
    "offline.kill.p50": Budget("agent killed to offline visible, p50", "s"),
    "offline.kill.p99": Budget("agent killed to offline visible, p99", "s", 3.5, 2),
    "offline.stop.p50": Budget("agent stopped to offline visible, p50", "s"),
    "offline.stop.p99": Budget("agent stopped to offline visible, p99", "s", 0.2, 0.05),
    "restart.all_back": Budget("all 28 back after the aggregator restarts", "s", 2, 0.5),
    "order.verify": Budget("node: CPU to verify an order of tier 2", "us"),
    "ping.resident": Budget("ping of 28 agents, resident client, p50", "ms", 5, 1),
    "ping.process": Budget("ping of 28 agents, whole process, p50", "ms", 60, 20),
    "run.process": Budget("campanile run -- true on 28 nodes, p50", "ms", 150, 60),
    "order.agent_cpu": Budget("agent: CPU per order", "ms"),
    "order.steward_cpu": Budget("steward: CPU per order", "ms"),
    "order.aggregator_cpu": Budget("aggregator: CPU per order to 28 nodes", "ms"),
    "order.swarm_cpu": Budget("aggregator: CPU per order to 1,000 agents", "ms"),
    "order.swarm_time": Budget("order to 1,000 simulated agents, whole process", "ms"),
    "config.push": Budget("4 KiB file to 28 nodes, compared, whole process, p50", "ms", 400, 250),
    "config.push_ansible": Budget("the same by Ansible over kept SSH connections, p50", "ms"),
    "config.push_salt": Budget("the same by Salt, p50", "ms"),
    "config.unchanged": Budget("apply without changes on 28 nodes, p50", "ms"),
    "config.steward_cpu": Budget("steward: CPU per apply without changes", "ms"),
    "config.drift": Budget("hand edit to drift told, worst", "s", 60, 5),
    "config.plan_all": Budget("plan of 200 new resources on one node, p50", "ms"),
    "config.plan_none": Budget("plan of 200 resources that are as they should be, p50", "ms"),
    "config.files": Budget("bundle of 5,000 files of 1 KiB, all new, applied by one node", "s", None, 10),
    "config.files_same": Budget("the same again, nothing to do", "s"),
    "backup.own.first": Budget("backup of 1 GiB in 20,004 files, first: CPU", "s", 8, 5.1),
    "backup.own.unchanged": Budget("the same again, nothing changed: CPU", "s", 0.5, 0.14),
    "backup.own.changed": Budget("the same again, 1 % changed: CPU", "s"),
    "backup.own.check": Budget("all of it read back and verified: CPU", "s", 3, 1),
    "backup.own.restore": Budget("all of it restored, verified: CPU", "s", 6.1, 4.7),
    "backup.own.memory": Budget("largest memory (RSS) of any of these", "MiB", 128, 64),
    "backup.own.repository": Budget("its repository", "MB", 480, 440),
    "backup.rebuild.time": Budget("a node with 1 GiB in 20,004 files rebuilt as another", "s", 900, 60),
    "backup.restic.first": Budget("restic: first: CPU", "s"),
    "backup.restic.unchanged": Budget("restic: nothing changed: CPU", "s"),
    "backup.restic.changed": Budget("restic: 1 % changed: CPU", "s"),
    "backup.restic.check": Budget("restic: check --read-data: CPU", "s"),
    "backup.restic.restore": Budget("restic: restore --verify: CPU", "s"),
    "backup.restic.memory": Budget("restic: largest memory (RSS)", "MiB"),
    "backup.restic.repository": Budget("restic: repository", "MB"),
    "backup.borg.first": Budget("borg: first: CPU", "s"),
    "backup.borg.unchanged": Budget("borg: nothing changed: CPU", "s"),
    "backup.borg.changed": Budget("borg: 1 % changed: CPU", "s"),
    "backup.borg.check": Budget("borg: check --verify-data: CPU", "s"),
    "backup.borg.restore": Budget("borg: extract: CPU", "s"),
    "backup.borg.memory": Budget("borg: largest memory (RSS)", "MiB"),
    "backup.borg.repository": Budget("borg: repository", "MB"),
    "backup.continuous": Budget("a file written to a snapshot that has it, p50", "s", 60, None),
    "swarm.1000.memory": Budget("aggregator memory per connection, of 1,000", "KiB", 40, 30),
    "swarm.1000.cpu": Budget("aggregator CPU with 1,000 connections", "ms/s"),
    "swarm.5000.memory": Budget("aggregator memory per connection, of 5,000", "KiB", 40, 30),
    "swarm.5000.cpu": Budget("aggregator CPU with 5,000 connections", "ms/s"),
}


@dataclass
class Figure:
    """A measured figure, or why there is none: because measuring failed, or because there is nothing to measure."""

    key: str
    value: float | None = None
    missing: str = ""
    is_skipped: bool = False
    detail: dict = field(default_factory=dict)

    def verdict(self):
        """In words: figures in time depend on the machine and never fail a build."""
        budget = BUDGETS[self.key]
        if self.value is None:
            return f"{'skipped' if self.is_skipped else 'not measured'}: {self.missing}"
        if budget.must is None:
            return "no budget"

        def within(limit):
            return self.value >= limit if budget.is_least else self.value <= limit

        if not within(budget.must):
            return "over budget" if not budget.is_least else "under budget"
        return "within aim" if budget.aim is None or within(budget.aim) else "within must"


def number(value):
    """Three significant digits, more where the whole number has more."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def table(figures):
    """Lines in aligned columns."""
    rows = [("what", "measured", "must", "aim", "verdict")]
    for figure in figures:
        budget = BUDGETS[figure.key]

        def quantity(value, unit=budget.unit):
            return "-" if value is None else f"{number(value)} {unit}"

        rows.append(
            (budget.what, quantity(figure.value), quantity(budget.must), quantity(budget.aim), figure.verdict())
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])] + [row[column].rjust(widths[column]) for column in (1, 2, 3)] + [row[4]]
        )
        for row in rows
    ]


def as_json(figures, machine):
    """The same for programs."""
    rows = []
    for figure in figures:
        row = asdict(BUDGETS[figure.key])
        row.update(key=figure.key, value=figure.value, verdict=figure.verdict(), detail=figure.detail)
        rows.append(row)
    return json.dumps({"machine": machine, "figures": rows}, indent=2) + "\n"


def median(values):
    """The middle one, or the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values, share):
    """By the nearest rank: a value that was measured; of few values p99 is the largest."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def spread(values):
    """What a reader needs to judge a figure in time."""
    return {
        "count": len(values),
        "min": min(values),
        "p50": percentile(values, 50),
        "p99": percentile(values, 99),
        "max": max(values),
    }

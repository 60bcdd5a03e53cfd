#!/usr/bin/env python3
"""One node and its aggregator over networks that do not let everything through: a table of what became of the link.

Runs as root inside the network namespace of the aggregator, which scripts/matrix.sh makes; the node has another one.
Every case is judged: the node must be online, by the transport that the network leaves it, and must lose no sample.
"""

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HUB, PORT = "10.93.0.1", 7443
PASSAGE, PROXY = 7444, 3128
NODE_NAMESPACE = os.environ["CAMPANILE_MATRIX_NODE"]
LINK = "to-node"
BIN = sys.argv[1]
IS_SHORT = "--short" in sys.argv
HOLD_S = 4 if IS_SHORT else 20
RETRY_S = 2
# Generous: what is measured is printed, what is judged is that it comes about.
LIMIT_S = 120


def say(text):
    print(text, file=sys.stderr, flush=True)


def program(name):
    return os.path.join(BIN, name)


def until(what, look, limit=LIMIT_S):
    began = time.monotonic()
    while True:
        found = look()
        if found:
            return time.monotonic() - began
        if time.monotonic() - began > limit:
            raise TimeoutError(f"not within {limit} s: {what}")
        time.sleep(0.02)


class Network:
    """What lies between: nftables in the aggregator's namespace, the MTU of the link, and a passage."""

    def __init__(self):
        self.passage = self.start([f"{HUB}:{PASSAGE}", f"{HUB}:{PORT}"])
        self.proxy = self.start(["--proxy", f"{HUB}:{PROXY}", f"{HUB}:{PORT}"])

    @staticmethod
    def start(arguments):
        child = subprocess.Popen([program("passage"), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n", "the passage does not open"
        return child

    def order(self, text):
        self.passage.stdin.write(text + "\n")
        self.passage.stdin.flush()
        assert self.passage.stdout.readline() == "ok\n", text

    def rules(self, inward, outward=()):
        text = "add table inet matrix\ndelete table inet matrix\n"
        if inward or outward:
            lines = [f'iifname "{LINK}" {rule}' for rule in inward], [f'oifname "{LINK}" {rule}' for rule in outward]
            text += "table inet matrix {\n"
            for hook, rules in zip(("input", "output"), lines):
                text += f"chain {hook} {{ type filter hook {hook} priority 0; {'; '.join(rules)}\n}}\n"
            text += "}\n"
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)

    def mtu(self, size):
        subprocess.run(["ip", "link", "set", LINK, "mtu", str(size)], check=True)
        subprocess.run(["ip", "-n", NODE_NAMESPACE, "link", "set", "to-hub", "mtu", str(size)], check=True)

    def heal(self):
        self.rules([])
        self.mtu(1500)
        self.order("pass")

    def close(self):
        for child in (self.passage, self.proxy):
            child.stdin.close()
            child.wait(10)


class Fleet:
    """An aggregator and a node, real processes."""

    def __init__(self, folder):
        self.folder = folder
        self.agent = None
        operator = self.path("operator")
        with open(self.path("passphrase"), "w") as file:
            file.write("matrix of networks\n")
        env = {**os.environ, "CAMPANILE_CONFIG_DIR": operator}
        self.call([program("campanile"), "fleet", "init", "--name", "matrix", "--operator", "ada", "--aggregator-dir",
                   self.path("state"), "--passphrase-file", self.path("passphrase")], env=env)
        with open(self.path("aggregator.toml"), "w") as file:
            file.write(f'state_dir = "{self.path("state")}"\nlisten = "{HUB}:{PORT}"\naddresses = ["{HUB}:{PORT}"]\n')
        config = ["--config", self.path("aggregator.toml")]
        self.token = self.call([program("campanile-aggregator"), "api-token", "--name", "matrix", "--role", "admin",
                                "--ttl", "1d", *config]).strip()
        self.aggregator = self.start([program("campanile-aggregator"), "serve", *config], "aggregator.log")
        self.tls = ssl.create_default_context(cafile=os.path.join(operator, "ca.pem"))
        until("the aggregator is ready", self.is_ready)
        self.enroll()

    def path(self, name):
        return os.path.join(self.folder, name)

    def call(self, command, **more):
        done = subprocess.run(command, capture_output=True, text=True, **more)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} {command[1]}: {done.stderr}")
        return done.stdout

    def start(self, command, log):
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=open(self.path(log), "a"))

    def open(self, path, body=None, timeout=10):
        request = urllib.request.Request(f"https://{HUB}:{PORT}{path}", method="POST" if body else "GET")
        request.add_header("authorization", f"Bearer {self.token}")
        if body:
            request.add_header("content-type", "application/json")
            request.data = json.dumps(body).encode()
        return urllib.request.urlopen(request, context=self.tls, timeout=timeout)

    def api(self, path, body=None):
        with self.open(path, body) as answer:
            return json.load(answer)

    def is_ready(self):
        try:
            with self.open("/readyz"):
                return True
        except OSError:
            return False

    def settings(self, more):
        with open(self.path("agent.toml"), "w") as file:
            file.write(f'state_dir = "{self.path("node")}"\nlog_format = "text"\nquic_retry_s = {RETRY_S}\n{more}\n'
                       f'[steward]\nstate_dir = "{self.path("steward")}"\nsocket = "{self.path("steward.sock")}"\n')

    def enroll(self):
        self.settings("")
        token = self.api("/api/v1/tokens", {"labels": {}, "ttlSeconds": 3600, "uses": 1})["token"]
        self.call(["ip", "netns", "exec", NODE_NAMESPACE, program("campanile-agent"), "enroll", "--token-file", "-",
                   "--name", "node", "--config", self.path("agent.toml")], input=token)

    def run(self, address, settings):
        """Starts the agent anew; nothing is remembered of networks."""
        self.stop()
        self.settings(settings)
        memory = self.path("node/networks.json")
        if os.path.exists(memory):
            os.remove(memory)
        with open(self.path("node/identity.json")) as file:
            identity = json.load(file)
        identity["addresses"] = [address]
        with open(self.path("node/identity.json"), "w") as file:
            json.dump(identity, file)
        self.agent = self.start(["ip", "netns", "exec", NODE_NAMESPACE, program("campanile-agent"), "run", "--config",
                                 self.path("agent.toml")], "agent.log")

    def stop(self):
        if self.agent:
            self.agent.send_signal(signal.SIGTERM)
            self.agent.wait(30)
            self.agent = None
            until("the node is gone", lambda: self.transport() is None)

    def transport(self):
        sessions = self.api("/api/v1/connections")["items"]
        return sessions[0]["transport"] if sessions else None

    def liveness(self):
        return self.api("/api/v1/nodes")["items"][0]["liveness"]

    def lost(self):
        """Seconds of all runs that the aggregator will never get."""
        runs = []

        def is_drained():
            runs[:] = self.api("/api/v1/nodes/node/coverage")["runs"]
            return runs and all(run["missing"] == 0 for run in runs)

        until("late samples are there", is_drained)
        return sum(run["gaps"] for run in runs)

    def close(self):
        self.stop()
        self.aggregator.send_signal(signal.SIGTERM)
        self.aggregator.wait(30)


class Watch:
    """Counts how often the node was late and offline."""

    def __init__(self, fleet):
        self.late, self.offline = 0, 0
        self.stream = fleet.open("/api/v1/events", timeout=None)
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        kind = ""
        try:
            for line in self.stream:
                line = line.decode()
                if line.startswith("event:"):
                    kind = line[6:].strip()
                elif line.startswith("data:") and kind == "node.liveness-changed":
                    self.late += '"late"' in line
                    self.offline += '"offline"' in line
        except (OSError, ValueError, AttributeError):
            pass  # Closed.

    def close(self):
        time.sleep(0.3)
        self.stream.close()


def loss(per_cent):
    rule = f"meta l4proto {{ tcp, udp }} numgen random mod 100 < {per_cent} drop"
    return lambda network: network.rules([rule], [rule])


def of_udp(verdict):
    return lambda network: network.rules([f"meta l4proto udp {verdict}"], ["meta l4proto udp drop"])


def proxy_only(network):
    ours = f"tcp dport {PROXY} accept"
    network.rules([ours, "meta l4proto { tcp, udp } drop"])


DIRECT, PASSED = f"{HUB}:{PORT}", f"{HUB}:{PASSAGE}"
VIA_PROXY = f'proxy = "http://{HUB}:{PROXY}"'
# Name, address, settings, what the network does, the transports that may be in use, and whether it cuts QUIC off.
CASES = [
    ("no obstacle", DIRECT, "", lambda network: None, {"quic"}, False),
    ("UDP dropped", DIRECT, "", of_udp("drop"), {"tcp"}, True),
    ("UDP rejected", DIRECT, "", of_udp("reject"), {"tcp"}, True),
    ("proxy only", DIRECT, VIA_PROXY, proxy_only, {"tcp via proxy"}, True),
    ("MTU 1,280", DIRECT, "", lambda network: network.mtu(1280), {"quic"}, False),
    ("5 % loss", DIRECT, "", loss(5), {"quic", "tcp"}, False),
    ("30 % loss", DIRECT, "", loss(30), {"quic", "tcp"}, False),
    ("reorder 1 in 4", PASSED, "", lambda network: network.order("late 4"), {"quic"}, False),
    ("NAT rebinding", PASSED, "", lambda network: network.order("rebind"), {"quic"}, False),
]
SHORT = {"UDP dropped", "UDP rejected", "proxy only"}
COLUMNS = ("case", "transport", "online s", "fallback s", "climb s", "lost", "late", "offline")


def seconds(value):
    return "-" if value is None else f"{value:.2f}"


def measure(fleet, network, case):
    name, address, settings, obstruct, transports, is_cut = case
    fleet.stop()
    network.heal()
    obstruct(network)
    fleet.run(address, settings)
    online = until("online", lambda: fleet.transport() in transports and fleet.liveness() == "online")
    used = fleet.transport()
    watch = Watch(fleet)
    # Held over time, with what happens once happening again.
    time.sleep(HOLD_S / 2)
    if name == "NAT rebinding":
        obstruct(network)
    time.sleep(HOLD_S / 2)
    until("still online", lambda: fleet.transport() in transports and fleet.liveness() == "online")
    used = fleet.transport() if not is_cut else used
    fallback = climb = None
    watch.close()
    held = (watch.late, watch.offline)
    flaps = held
    if is_cut:
        watch = Watch(fleet)
        network.heal()
        climb = until("back to QUIC", lambda: fleet.transport() == "quic")
        time.sleep(2)
        watch.close()
        assert watch.offline == 0, f"{name}: going back to QUIC shows as offline"
        watch = Watch(fleet)
        obstruct(network)
        fallback = until("over TCP", lambda: fleet.transport() in transports)
        until("online again", lambda: fleet.liveness() == "online")
        watch.close()
        flaps = (held[0] + watch.late, held[1] + watch.offline)
        assert held == (0, 0), f"{name}: not steady: {held}"
    lost = fleet.lost()
    assert lost == 0, f"{name}: {lost} samples were lost"
    return (name, used, seconds(online), seconds(fallback), seconds(climb), str(lost), *map(str, flaps))


def main():
    folder = tempfile.mkdtemp(prefix="campanile-matrix-")
    rows, failed = [], 0
    # Whatever was started ends, also where the rest cannot start.
    with contextlib.ExitStack() as opened:
        fleet = opened.enter_context(contextlib.closing(Fleet(folder)))
        network = opened.enter_context(contextlib.closing(Network()))
        opened.callback(network.heal)
        for case in CASES:
            if IS_SHORT and case[0] not in SHORT:
                continue
            say(f"== {case[0]}")
            try:
                rows.append(measure(fleet, network, case))
            except (AssertionError, TimeoutError) as error:
                failed += 1
                say(f"{case[0]}: {error}")
                rows.append((case[0], "FAILED", *"------"))
    if failed:
        say(f"logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    widths = [max(len(row[column]) for row in [COLUMNS, *rows]) for column in range(len(COLUMNS))]
    for row in [COLUMNS, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"QUIC is tried again {RETRY_S} s after the fallback at first, 30 s by default; late and offline count the cut itself")
    print(f"transport matrix: {len(rows) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())

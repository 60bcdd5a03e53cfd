"""A fleet of real processes in one folder, and its API."""

import http.client
import json
import os
import shlex
import shutil
import ssl
import subprocess
import time
import urllib.parse

import machine

REQUEST_SECONDS = 10


def parse_environment(text):
    """Names and values out of a file of `export NAME=VALUE` lines."""
    values = {}
    for line in text.splitlines():
        for word in shlex.split(line, comments=True):
            name, equals, value = word.partition("=")
            if equals:
                values[name] = value
    return values


class Api:
    """The aggregator's API over one connection that is kept, so that looking costs it little."""

    def __init__(self, environment):
        address = urllib.parse.urlsplit(environment["CAMPANILE_URL"])
        context = ssl.create_default_context(cafile=environment["CAMPANILE_CA"])
        self.connection = http.client.HTTPSConnection(
            address.hostname, address.port, timeout=REQUEST_SECONDS, context=context
        )
        self.headers = {"Authorization": f"Bearer {environment['CAMPANILE_TOKEN']}"}

    def get(self, path):
        try:
            return self.request(path)
        except (http.client.HTTPException, ConnectionError):
            # The server may close a connection that was quiet; a fresh one tells.
            return self.request(path)

    def request(self, path):
        try:
            self.connection.request("GET", f"/api/v1{path}", headers=self.headers)
            answer = self.connection.getresponse()
            body = answer.read()
        except (http.client.HTTPException, OSError):
            self.connection.close()
            raise
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status} {body[:200].decode(errors='replace')}")
        return json.loads(body)

    def close(self):
        self.connection.close()


class Fleet:
    """`campanile dev up` for as long as the `with` lasts."""

    def __init__(self, bin_dir, folder, nodes):
        self.bin_dir, self.folder, self.count = bin_dir, folder, nodes
        self.children = []

    def program(self, name):
        return os.path.join(self.bin_dir, name)

    def __enter__(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.campanile("dev", "up", "--nodes", str(self.count), "--dir", self.folder, "--bin-dir", self.bin_dir,
                           "--detach", seconds=120 + 3 * self.count)
            with open(os.path.join(self.folder, "env"), encoding="utf-8") as file:
                self.environment = parse_environment(file.read())
            self.api = Api(self.environment)
            self.nodes = sorted(os.listdir(os.path.join(self.folder, "nodes")))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        for child in self.children:
            if child.poll() is None:
                machine.end(child.pid)
            child.wait()
        if os.path.isdir(self.folder):
            self.campanile("dev", "down", "--dir", self.folder, seconds=120)
            shutil.rmtree(self.folder, ignore_errors=True)

    def campanile(self, *arguments, seconds):
        done = subprocess.run([self.program("campanile"), *arguments], stdin=subprocess.DEVNULL, timeout=seconds,
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise RuntimeError(f"campanile {' '.join(arguments[:2])} ended with {done.returncode}: {said}")

    def campanile_in(self, *arguments, seconds):
        """The command line as somebody who sourced the fleet's `env`; fails unless it ends with 0."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run([self.program("campanile"), *arguments], stdin=subprocess.DEVNULL, timeout=seconds,
                              capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise RuntimeError(f"campanile {' '.join(arguments[:2])} ended with {done.returncode}: {said}")

    def pid(self, part):
        """Process id of the `aggregator`, of a node's agent, or of its steward as `NODE/steward`."""
        node, _, which = part.partition("/")
        folder = "aggregator" if part == "aggregator" else os.path.join("nodes", node)
        name = "aggregator.pid" if part == "aggregator" else f"{which or 'agent'}.pid"
        with open(os.path.join(self.folder, folder, name), encoding="ascii") as file:
            return int(file.read())

    def start(self, part):
        """Starts one of them again, as `dev up` did, and notes its process id where `dev up` does."""
        if part == "aggregator":
            program, verb, stem = "campanile-aggregator", "serve", os.path.join("aggregator", "aggregator")
        else:
            program, verb, stem = "campanile-agent", "run", os.path.join("nodes", part, "agent")
        stem = os.path.join(self.folder, stem)
        with open(stem + ".log", "ab") as log:
            child = subprocess.Popen([self.program(program), verb, "--config", stem + ".toml"],
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.children.append(child)
        with open(stem + ".pid", "w", encoding="ascii") as file:
            file.write(f"{child.pid}\n")

    def forget_ended(self):
        """Lets the kernel forget children that ended."""
        self.children = [child for child in self.children if child.poll() is None]

    def liveness(self, node):
        return self.api.get(f"/nodes/{node}")["liveness"]

    def online(self):
        return self.api.get("/status")["online"]

    def wait_online(self, node, seconds=30):
        if not machine.wait_until(lambda: self.liveness(node) == "online", seconds, 0.05):
            raise TimeoutError(f"{node} did not come online within {seconds} s")

    def wait_all_online(self, seconds=60):
        if not machine.wait_until(lambda: self.online() >= self.count, seconds, 0.1):
            raise TimeoutError(f"{self.online()} of {self.count} nodes came online within {seconds} s")


def rounds(api, node):
    """Samples of a node that the aggregator holds, over all runs of its agent."""
    return sum(run["received"] for run in api.get(f"/nodes/{node}/coverage")["runs"])


def settle(seconds):
    """Lets caches fill and sessions grow old before anything is measured."""
    time.sleep(seconds)

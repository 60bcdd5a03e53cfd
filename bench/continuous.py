"""How soon a change is in a snapshot, with a policy that follows changes."""

import json
import os
import random
import shutil
import subprocess
import time

import machine
from figures import Figure, median, spread
from fleet import Fleet

POLICY = "bench"
FOLDERS, FILES = 64, 1024
FILE_BYTES = 4096
CHANGES = 7
SNAPSHOT_SECONDS_MAX = 180
# The steward looks for policies that somebody else put there every half minute.
FIRST_SECONDS_MAX = 180
COMMAND_SECONDS_MAX = 60


def continuous(options):
    """A real steward and its repository in a folder: from the write of a file to the first snapshot that has it."""
    with Fleet(options.bin_dir, os.path.join(options.scratch, "continuous"), 1) as fleet:
        fleet.wait_all_online()
        node = Node(fleet)
        node.make_files()
        node.put_policy()
        if not machine.wait_until(node.has_run, FIRST_SECONDS_MAX, 0.2):
            raise TimeoutError(f"the new policy did not run within {FIRST_SECONDS_MAX} s")
        chance, times = random.Random(7), []
        for number in range(CHANGES):
            # Anywhere between two runs: some changes come soon after the run before, which makes them wait.
            time.sleep(chance.uniform(0, 45))
            times.append(node.time_of_change(os.urandom(FILE_BYTES), number))
        yield Figure("backup.continuous", median(times), detail=spread(times))


class Node:
    """The one of the fleet, with files and a place for its repository beside its state."""

    def __init__(self, fleet):
        self.folder = os.path.join(fleet.folder, "nodes", fleet.nodes[0])
        self.program = fleet.program("campanile-agent")
        self.files = os.path.join(self.folder, "files")
        self.repository = os.path.join(self.folder, "repository")

    def make_files(self):
        for number in range(FILES):
            path = self.path(number)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(os.urandom(FILE_BYTES))

    def path(self, number):
        return os.path.join(self.files, str(number % FOLDERS), str(number))

    def put_policy(self):
        said = {"paths": [self.files], "schedule": "continuous", "keep": {"last": 100},
                "target": f"dir:{self.repository}"}
        folder = os.path.join(self.folder, "steward", "backup", "policies")
        os.makedirs(folder, exist_ok=True)
        written = os.path.join(folder, f".{POLICY}")
        with open(written, "w", encoding="utf-8") as file:
            json.dump({"format": 1, "name": POLICY, "policy": said}, file)
        os.rename(written, os.path.join(folder, f"{POLICY}.json"))

    def backup(self, *arguments):
        settings = os.path.join(self.folder, "agent.toml")
        done = subprocess.run([self.program, "--config", settings, "backup", *arguments], stdin=subprocess.DEVNULL,
                              timeout=COMMAND_SECONDS_MAX, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise RuntimeError(f"campanile-agent backup {arguments[0]} ended with {done.returncode}: {said}")
        return done.stdout

    def has_run(self):
        known = json.loads(self.backup("runs", "-o", "json"))["policies"].get(POLICY, {})
        return any((run.get("end") or {}).get("result") == "ok" for run in known.get("runs", []))

    def snapshots(self):
        return {name for name in os.listdir(os.path.join(self.repository, "snapshots")) if not name.startswith(".")}

    def time_of_change(self, content, number):
        """Seconds. A snapshot that was being made during the change may not have it."""
        path, known = self.path(number), self.snapshots()
        began = time.monotonic()
        with open(path, "wb") as file:
            file.write(content)
        while True:
            if not machine.wait_until(lambda: self.snapshots() - known, SNAPSHOT_SECONDS_MAX, 0.02):
                raise TimeoutError(f"a change was in no snapshot within {SNAPSHOT_SECONDS_MAX} s")
            passed, new = time.monotonic() - began, self.snapshots() - known
            if any(self.holds(snapshot, path, content) for snapshot in new):
                return passed
            known |= new

    def holds(self, snapshot, path, content):
        out = os.path.join(self.folder, "out")
        self.backup("restore", snapshot, path, "--to", out, "--policy", POLICY)
        with open(out + path, "rb") as file:
            is_same = file.read() == content
        shutil.rmtree(out)
        return is_same

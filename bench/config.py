"""What configuration costs: one file to every node, a plan, an apply without changes, and how soon drift is noticed."""

import os
import subprocess
import time

import machine
from figures import Figure, median, percentile, spread
from fleet import Fleet, settle

NODES = 28
RUNS = 20
PLANS = 20
DRIFTS = 5
FILE_BYTES = 4096
RESOURCES = 200
FILES = 5000
FILES_BYTES = 1024
FILES_RUNS = 3
PEER_RUNS = 10
PEER_SECONDS_MAX = 1200
SETTLE_SECONDS = 15
DRIFT_SECONDS_MAX = 120
COMMAND_SECONDS_MAX = 300
# Exit codes of `campanile config`.
SAME, PENDING = 0, 10
TARGET = "/etc/bench/file"


def config(options):
    """28 real agents with their stewards, each configured beneath a folder of its own."""
    bundle = os.path.join(options.scratch, "bundle")
    with Fleet(options.bin_dir, os.path.join(options.scratch, "config"), NODES) as fleet:
        fleet.wait_all_online()
        settle(SETTLE_SECONDS)
        # One passphrase for all that follows, as a person would.
        fleet.campanile_in("key", "unlock", "--for", "60m", seconds=60)
        try:
            yield from push(fleet, bundle)
            yield from drift(fleet)
            yield from many(fleet, bundle)
        finally:
            fleet.campanile_in("key", "lock", seconds=60)


def files(options):
    """A bundle of 5,000 files for one node: all of them new content each time, then nothing to do."""
    bundle = os.path.join(options.scratch, "files")
    with Fleet(options.bin_dir, os.path.join(options.scratch, "config-files"), 1) as fleet:
        fleet.wait_all_online()
        settle(SETTLE_SECONDS)
        fleet.campanile_in("key", "unlock", "--for", "60m", seconds=60)
        root = os.path.join(fleet.folder, "nodes", fleet.nodes[0], "root")
        try:
            times = []
            for _ in range(FILES_RUNS):
                contents = [os.urandom(FILES_BYTES) for _ in range(FILES)]
                write_files(bundle, contents)
                times.append(campanile(fleet, "apply", bundle, "--yes")[0] / 1000)
                for number, content in enumerate(contents):
                    if read(f"{root}/etc/bench/files/{number}") != content:
                        raise RuntimeError(f"file {number} has another content than was applied")
            yield Figure("config.files", median(times), detail=spread(times))
            times = [campanile(fleet, "apply", bundle, "--yes")[0] / 1000 for _ in range(FILES_RUNS)]
            yield Figure("config.files_same", median(times), detail=spread(times))
        finally:
            fleet.campanile_in("key", "lock", seconds=60)


def peers(options):
    """The same file pushed by others on this machine, where the scripts that start them are given."""
    salt = os.path.join(options.salt_venv, "bin", "salt-master")
    yield from peer(options, "config.push_ansible", "fanout-peers.py", f"ansible.ssh.n{NODES}.copy.median",
                    ("--only", "ansible_ssh", "--scratch", os.path.join(options.scratch, "ansible")))
    if options.peers and not os.path.exists(salt):
        yield Figure("config.push_salt", missing="no --salt-venv with a salt-master", is_skipped=True)
        return
    yield from peer(options, "config.push_salt", "fanout-salt.py", f"salt.n{NODES}.push.median",
                    ("--salt-venv", options.salt_venv, "--scratch", os.path.join(options.scratch, "salt")))


def peer(options, key, script, name, arguments):
    """Milliseconds of the line `NAME SECONDS s` that a script prints."""
    if not options.peers:
        yield Figure(key, missing="no --peers", is_skipped=True)
        return
    done = subprocess.run(["python3", "-B", os.path.join(options.peers, script), "--nodes", str(NODES), "--runs",
                           str(PEER_RUNS), *arguments], stdin=subprocess.DEVNULL, timeout=PEER_SECONDS_MAX,
                          capture_output=True, text=True, check=False)
    found = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if len(line.split()) == 3}
    if name not in found or done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise RuntimeError(f"{script} ended with {done.returncode} and told no {name}: {said}")
    detail = {line: value for line, value in found.items() if line.startswith(name.rpartition(".")[0])}
    yield Figure(key, float(found[name]) * 1000, detail=detail)


def write_files(bundle, contents):
    """One resource for each content, which is a file of the bundle."""
    os.makedirs(os.path.join(bundle, "files"), exist_ok=True)
    for number, content in enumerate(contents):
        write(os.path.join(bundle, "files", str(number)), content)
    tables = [f'[file."/etc/bench/files/{number}"]\nsource = "{number}"\n' for number in range(len(contents))]
    write(os.path.join(bundle, "fleet.toml"), "\n".join(tables).encode())


def push(fleet, bundle):
    """One file of 4 KiB with new content each time: from the command to its end, every copy compared."""
    times = []
    for _ in range(RUNS):
        content = os.urandom(FILE_BYTES)
        write_bundle(bundle, {TARGET: 'source = "file"'}, content)
        times.append(campanile(fleet, "apply", bundle, "--yes", "--batch", "100%")[0])
        for node in fleet.nodes:
            if read(configured(fleet, node)) != content:
                raise RuntimeError(f"{node} has another content than was applied")
    yield Figure("config.push", percentile(times, 50), detail=spread(times))
    agents = [fleet.pid(f"{node}/steward") for node in fleet.nodes]
    before = [machine.cpu_seconds(pid) for pid in agents]
    times = [campanile(fleet, "apply", bundle, "--yes", "--batch", "100%")[0] for _ in range(RUNS)]
    cost = [machine.cpu_seconds(pid) - cpu for pid, cpu in zip(agents, before)]
    yield Figure("config.unchanged", percentile(times, 50), detail=spread(times))
    yield Figure("config.steward_cpu", median(cost) * 1000 / RUNS)


def drift(fleet):
    """From a hand edit on one node to the answer that tells of it; then the file is as it was."""
    path = configured(fleet, fleet.nodes[0])
    good, times = read(path), []
    for _ in range(DRIFTS):
        began = time.monotonic()
        write(path, good + b"by hand\n")
        wait_code(fleet, PENDING, "the drift was not noticed")
        times.append(time.monotonic() - began)
        write(path, good)
        wait_code(fleet, SAME, "the end of the drift was not noticed")
    yield Figure("config.drift", max(times), detail=spread(times))


def wait_code(fleet, code, otherwise):
    if not machine.wait_until(lambda: campanile(fleet, "drift")[1] == code, DRIFT_SECONDS_MAX, 0.1):
        raise TimeoutError(f"{otherwise} within {DRIFT_SECONDS_MAX} s")


def many(fleet, bundle):
    """200 resources planned on one node: all to be made, then none."""
    write_bundle(bundle, {f"/etc/bench/many/{number}": f'content = "resource {number}\\n"\nmode = "0644"'
                          for number in range(RESOURCES)}, b"")
    only = ("-l", f"name={fleet.nodes[0]}")
    for key, expected in [("config.plan_all", PENDING), ("config.plan_none", SAME)]:
        times = []
        for _ in range(PLANS):
            took, code = campanile(fleet, "plan", bundle, *only)
            if code != expected:
                raise RuntimeError(f"config plan ended with {code}, not {expected}")
            times.append(took)
        yield Figure(key, percentile(times, 50), detail=spread(times))
        if expected == PENDING:
            campanile(fleet, "apply", bundle, "--yes", *only)


def write_bundle(bundle, files, content):
    os.makedirs(os.path.join(bundle, "files"), exist_ok=True)
    write(os.path.join(bundle, "files", "file"), content)
    tables = [f'[file."{path}"]\n{body}\n' for path, body in files.items()]
    write(os.path.join(bundle, "fleet.toml"), "\n".join(tables).encode())


def configured(fleet, node):
    """Where a node of `dev up` has the file: everything lies beneath a folder of its own."""
    return os.path.join(fleet.folder, "nodes", node, "root") + TARGET


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def campanile(fleet, verb, *arguments):
    """Milliseconds of a whole `campanile config`, and its exit code, which says whether changes pend."""
    environment = {**os.environ, **fleet.environment}
    began = time.monotonic()
    done = subprocess.run([fleet.program("campanile"), "config", verb, *arguments], stdin=subprocess.DEVNULL,
                          timeout=COMMAND_SECONDS_MAX, capture_output=True, text=True, check=False, env=environment)
    took = (time.monotonic() - began) * 1000
    if done.returncode not in (SAME, PENDING) or (verb == "apply" and done.returncode != SAME):
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise RuntimeError(f"campanile config {verb} ended with {done.returncode}: {said}")
    return took, done.returncode

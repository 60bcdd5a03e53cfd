"""What backups cost: one tree saved, saved again, changed, read back, restored; restic and borg beside it where they are."""

import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile

from figures import Figure, median, spread

MEBIBYTE = 1024 * 1024
TREE_BYTES = 1024 * MEBIBYTE
SMALL_FILES = 20_000
RUNS = 3
CHANGED_SHARE = 0.01
BLOCK = 65_536
PASSWORD = "correct horse battery"
STEPS = ("first", "unchanged", "changed", "check", "restore")


def figures_of(tool):
    return [f"backup.{tool}.{step}" for step in STEPS] + [f"backup.{tool}.memory", f"backup.{tool}.repository"]


def backup(options):
    """`campanile-agent backup` on a policy of its own; the repository is a folder."""
    yield from measured(options, "own", Own)


def peers(options):
    """Stock restic and borg on the same tree, each where it is installed."""
    for name, tool in PEERS.items():
        if shutil.which(name):
            yield from measured(options, name, tool)
        else:
            for key in figures_of(name):
                yield Figure(key, missing=f"no {name} on PATH", is_skipped=True)


def measured(options, name, tool):
    master = os.path.join(options.scratch, "backup-master")
    if not os.path.isdir(master):
        # In a process of its own: the kernel counts the largest set of whoever starts a program as the program's.
        subprocess.run([sys.executable, "-B", __file__, master], check=True)
    rows = {step: [] for step in STEPS}
    memories, sizes = [], []
    for number in range(RUNS):
        folder = os.path.join(options.scratch, f"backup-{name}-{number}")
        tree = os.path.join(folder, "tree")
        os.makedirs(folder)
        subprocess.run(["cp", "-a", master, tree], check=True)
        os.sync()
        at_work = tool(options, folder, tree)
        peak = 0
        for step in STEPS:
            if step == "changed":
                change(tree)
            cpu, memory = run(*at_work.command(step))
            rows[step].append(cpu)
            peak = max(peak, memory)
            if step == "first":
                sizes.append(size_of(at_work.repository) / 1e6)
        memories.append(peak / MEBIBYTE)
        if digest(at_work.restored()) != digest(tree):
            raise RuntimeError(f"what {name} restored is not what was saved")
        shutil.rmtree(folder)
    for step in STEPS:
        yield Figure(f"backup.{name}.{step}", median(rows[step]), detail=spread(rows[step]))
    yield Figure(f"backup.{name}.memory", median(memories), detail=spread(memories))
    yield Figure(f"backup.{name}.repository", median(sizes), detail=spread(sizes))


class Own:
    """Settings and a policy's file as the steward would put them there."""

    def __init__(self, options, folder, tree):
        self.repository, self.out = os.path.join(folder, "repository"), os.path.join(folder, "out")
        self.tree, self.settings = tree, os.path.join(folder, "agent.toml")
        self.program = os.path.join(options.bin_dir, "campanile-agent")
        steward = os.path.join(folder, "steward")
        policies = os.path.join(steward, "backup", "policies")
        os.makedirs(policies)
        said = {"paths": [tree], "schedule": "@daily", "keep": {"last": 10}, "target": f"dir:{self.repository}"}
        policy = {"format": 1, "name": "bench", "policy": said}
        with open(os.path.join(policies, "bench.json"), "w", encoding="utf-8") as file:
            json.dump(policy, file)
        with open(self.settings, "w", encoding="utf-8") as file:
            file.write(f'state_dir = "{folder}/state"\n[steward]\nstate_dir = "{steward}"\n')

    def command(self, step):
        verb = {"check": ["check"], "restore": ["restore", "latest", "--to", self.out]}.get(step, ["run"])
        return [self.program, "--config", self.settings, "backup", *verb, "--policy", "bench"], {}

    def restored(self):
        return self.out + self.tree


class Restic:
    """With its defaults: a cache, and the compression of its format."""

    def __init__(self, _options, folder, tree):
        self.repository, self.out, self.tree = os.path.join(folder, "repository"), os.path.join(folder, "out"), tree
        self.cache = os.path.join(folder, "cache")
        run([*self.line(), "init"], self.environment())

    def line(self):
        return ["restic", "--quiet", "--repo", self.repository, "--cache-dir", self.cache]

    def environment(self):
        return {"RESTIC_PASSWORD": PASSWORD}

    def command(self, step):
        verb = {"check": ["check", "--read-data"],
                "restore": ["restore", "latest", "--target", self.out, "--verify"]}.get(step, ["backup", self.tree])
        return [*self.line(), *verb], self.environment()

    def restored(self):
        return self.out + self.tree


class Borg:
    """With zstd at the level of restic's default, so that repositories can be compared; its own default does less."""

    def __init__(self, _options, folder, tree):
        self.repository, self.out, self.tree = os.path.join(folder, "repository"), os.path.join(folder, "out"), tree
        self.base = os.path.join(folder, "base")
        os.makedirs(self.base)
        os.makedirs(self.out)
        run(["borg", "init", "--encryption", "repokey-blake2", self.repository], self.environment())

    def environment(self):
        # Its keys, its cache and what it remembers of repositories lie there.
        return {"BORG_PASSPHRASE": PASSWORD, "BORG_BASE_DIR": self.base}

    def command(self, step):
        archive = f"{self.repository}::{step}"
        create = ["borg", "create", "--compression", "zstd,3", archive, self.tree]
        # It restores into the folder in which it is started.
        extract = ["env", "--chdir", self.out, "borg", "extract", f"{self.repository}::changed"]
        line = {"check": ["borg", "check", "--verify-data", self.repository], "restore": extract}.get(step, create)
        return line, self.environment()

    def restored(self):
        return self.out + self.tree


PEERS = {"restic": Restic, "borg": Borg}


def run(command, environment):
    """CPU seconds and the largest resident set in bytes of a command with all its children."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                                   env=dict(os.environ, **environment))
        try:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"{' '.join(command[:4])} ended with {process.returncode}: {said[-1] if said else ''}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def make_tree(folder):
    """Small files of text, 1 to 64 KiB, three of a hundred copies of another; four large ones: text, noise, mostly zero,
    records. The same bytes each time."""
    chance = random.Random(20_004)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 11))) for _ in range(4096)]

    def text(length):
        parts, size = [], 0
        while size < length:
            parts.append(" ".join(chance.choices(words, k=12)) + "\n")
            size += len(parts[-1])
        return "".join(parts).encode()[:length]

    total, contents = 0, []
    for number in range(SMALL_FILES):
        place = os.path.join(folder, f"{number % 64:02}", f"{number // 64 % 16:02}")
        os.makedirs(place, exist_ok=True)
        if contents and chance.random() < 0.03:
            content = chance.choice(contents)
        else:
            content = text(int(1024 * math.exp(chance.random() * math.log(64))))
        contents.append(content)
        total += len(content)
        with open(os.path.join(place, f"{number}.txt"), "wb") as file:
            file.write(content)
    pool = text(4 * MEBIBYTE)

    def spliced(length):
        half = length // 2
        return b"".join(pool[start:start + half] for start in chance.sample(range(len(pool) - half), 2))

    kinds = {
        "text": spliced,
        "noise": chance.randbytes,
        "zero": lambda length: chance.randbytes(length) if chance.random() < 0.1 else bytes(length),
        "records": lambda length: b"".join(
            number.to_bytes(8, "little") + chance.randbytes(24) + b"RECORD--" * 4 for number in range(length // 64)),
    }
    os.makedirs(os.path.join(folder, "large"))
    blocks = (TREE_BYTES - total) // len(kinds) // BLOCK
    for kind, make in kinds.items():
        with open(os.path.join(folder, "large", kind), "wb") as file:
            for _ in range(blocks):
                file.write(make(BLOCK))


def files_of(folder):
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield os.path.join(place, name)


def change(tree):
    """New bytes in a share of the small files, and in the same share of the blocks of each large one."""
    chance = random.Random(1)
    for path in files_of(tree):
        size = os.path.getsize(path)
        if f"{os.sep}large{os.sep}" in path:
            with open(path, "r+b") as file:
                for block in range(size // BLOCK):
                    if chance.random() < CHANGED_SHARE:
                        file.seek(block * BLOCK)
                        file.write(chance.randbytes(BLOCK))
        elif chance.random() < CHANGED_SHARE:
            with open(path, "wb") as file:
                file.write(chance.randbytes(size))


def size_of(folder):
    return sum(os.lstat(path).st_size for path in files_of(folder))


def digest(folder):
    """Of names and contents."""
    whole = hashlib.sha256()
    for path in files_of(folder):
        whole.update(os.path.relpath(path, folder).encode() + b"\0")
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.digest()


if __name__ == "__main__":
    make_tree(sys.argv[1])

"""Writes what a program consists of: every crate linked into it, as CycloneDX 1.5 JSON.

Usage: python3 scripts/sbom.py CRATE > FILE    (SOURCE_DATE_EPOCH sets its time)

Two runs on one commit write equal bytes. What cargo resolves for that crate alone is listed, with the checksums of
Cargo.lock; tools that only build it are not.
"""

import datetime
import json
import os
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tree(crate: str) -> list[tuple[int, str, str, str]]:
    """(depth, name, version, licence) of every line of `cargo tree`."""
    command = ["cargo", "tree", "--locked", "--package", crate, "--edges", "normal", "--prefix", "depth"]
    command += ["--no-dedupe", "--format", "|{p}|{l}"]
    lines = []
    for line in subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines():
        depth, package, licence = line.split("|")
        name, version = package.split()[:2]
        lines.append((int(depth), name, version.removeprefix("v"), licence))
    return lines


def reference(name: str, version: str) -> str:
    return f"pkg:cargo/{name}@{version}"


def graph(lines: list[tuple[int, str, str, str]]) -> dict[str, set[str]]:
    """Which package uses which."""
    uses: dict[str, set[str]] = {}
    above: list[str] = []
    for depth, name, version, _ in lines:
        package = reference(name, version)
        uses.setdefault(package, set())
        del above[depth:]
        if above:
            uses[above[-1]].add(package)
        above.append(package)
    return uses


def component(name: str, version: str, licence: str, checksum: str | None) -> dict[str, object]:
    kind = {"type": "library", "bom-ref": reference(name, version), "name": name, "version": version}
    if licence:
        # A slash is how expressions were written before SPDX was.
        kind["licenses"] = [{"expression": licence.replace("/", " OR ")}]
    if checksum:
        kind["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        kind["purl"] = reference(name, version)
    return kind


def bill(crate: str) -> dict[str, object]:
    lines = tree(crate)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in lock["package"]}
    found = {(name, version): licence for _, name, version, licence in lines}
    (_, name, version, licence), uses = lines[0], graph(lines)
    program = component(name, version, licence, None) | {"type": "application"}
    del found[name, version]
    listed = [component(*package, licence, checksums[package]) for package, licence in sorted(found.items())]
    built = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.UTC)
    body = {
        "metadata": {"timestamp": built.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": program},
        "components": listed,
        "dependencies": [{"ref": ref, "dependsOn": sorted(used)} for ref, used in sorted(uses.items())],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return head | body


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 scripts/sbom.py CRATE")
    json.dump(bill(sys.argv[1]), sys.stdout, indent=1)
    print()

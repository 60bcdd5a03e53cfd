"""Measures the parts one after the other, each in a process of its own, and prints the table."""

import argparse
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile

import machine
from figures import Figure, as_json, table
from parts import PARTS

PART_SECONDS_MAX = 1800


def arguments():
    parser = argparse.ArgumentParser(description="Our figures beside their budgets.")
    parser.add_argument("--bin-dir", help="where the release binaries are (run.sh gives it)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    parser.add_argument("--only", default="", metavar="PART,...", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=int, default=60, help="window for the agent (default 60; 3600 for growth)")
    parser.add_argument("--fleet-seconds", type=int, default=60, help="window for 28 agents (600 for memory)")
    parser.add_argument("--rest-seconds", type=int, default=20, help="window for what rests (default 20)")
    parser.add_argument("--swarm-seconds", type=int, default=40, help="how long a swarm stays (default 40)")
    parser.add_argument("--sessions", type=int, default=10, help="new sessions to measure (default 10)")
    parser.add_argument("--losses", type=int, default=20, help="agents to kill, and to stop (default 20)")
    parser.add_argument("--restarts", type=int, default=5, help="aggregator restarts (default 5)")
    parser.add_argument("--peers", default="", metavar="FOLDER",
                        help="where fanout-peers.py and fanout-salt.py are, which push the same file by Ansible and Salt")
    parser.add_argument("--salt-venv", default="", metavar="FOLDER", help="virtual environment that Salt is in")
    options = parser.parse_args()
    options.parts = options.only.split(",") if options.only else list(PARTS)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]}; there are {', '.join(PARTS)}")
    if not options.bin_dir:
        parser.error("--bin-dir is missing; bench/run.sh builds the programs and gives it")
    return options


def end_once_told():
    """The first signal to end unwinds, which ends what was started; a second one must not cut that short."""

    def end(*_):
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, signal.SIG_IGN)
        sys.exit(130)

    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, end)


def measure(part, options, results):
    """Body of the process: a part may change its network, and ends what it started also when it is told to end."""
    end_once_told()
    run, _ = PARTS[part]
    try:
        for figure in run(options):
            results.put(figure)
    except Exception as error:
        results.put(f"{type(error).__name__}: {error}".strip())
        sys.exit(1)


def collect(part, options):
    """The part's figures in their order, with a reason for each that is missing."""
    print(f"== measuring: {part}", file=sys.stderr, flush=True)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=measure, args=(part, options, results))
    process.start()
    reason = ""
    try:
        process.join(PART_SECONDS_MAX)
        if process.is_alive():
            reason = f"took longer than {PART_SECONDS_MAX} s"
    finally:
        if process.is_alive():
            process.terminate()
            process.join(180)
    found = {}
    while not results.empty():
        result = results.get()
        if isinstance(result, Figure):
            found[result.key] = result
        else:
            reason = result
    if reason:
        print(f"{part}: {reason}", file=sys.stderr)
    first_line = (reason or "the part ended early").splitlines()[0]
    return [found.get(key) or Figure(key, missing=first_line) for key in PARTS[part][1]]


def main():
    options = arguments()
    end_once_told()
    if options.json:
        # Now rather than after minutes of measuring.
        with open(options.json, "w", encoding="utf-8"):
            pass
    before = machine.describe()
    options.scratch = tempfile.mkdtemp(prefix="campanile-bench-")
    figures = []
    try:
        for part in options.parts:
            found = collect(part, options)
            # As they come: whoever waits for all of them waits for half an hour.
            print("\n".join(table(found)[1:]), file=sys.stderr, flush=True)
            figures += found
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)
    print(f"{before['cpus']} processors, {before['architecture']}, Linux {before['kernel']}, "
          f"load {before['load1']:.2f} at the start")
    print("\n".join(table(figures)))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write(as_json(figures, before))
    return 1 if any(figure.value is None and not figure.is_skipped for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the kernel says of processes and traffic. Linux only."""

import contextlib
import ctypes
import fcntl
import os
import platform
import signal
import socket
import struct
import time

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def describe():
    """What figures in time depend on."""
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "load1": os.getloadavg()[0],
    }


def parse_rollup(text):
    """PSS and anonymous PSS in bytes, out of smaps_rollup."""
    fields = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        parts = rest.split()
        if len(parts) == 2 and parts[1] == "kB":
            fields[name] = int(parts[0]) * 1024
    return fields["Pss"], fields["Pss_Anon"]


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as rollup:
        return parse_rollup(rollup.read())


def cpu_seconds(pid):
    """Processor time of a process with all its threads, ended ones included, in nanosecond resolution: the
    kernel's clock of that process (CPUCLOCK_SCHED). /proc/PID/stat counts in hundredths of a second."""
    return time.clock_gettime((~pid << 3) | 2)


def parse_net_dev(text, device):
    """Bytes that a device has sent."""
    for line in text.splitlines():
        name, colon, counters = line.partition(":")
        if colon and name.strip() == device:
            return int(counters.split()[8])
    raise ValueError(f"no device {device}")


def loopback_bytes():
    """Each packet on the loopback is counted once, with its IP and UDP headers."""
    with open("/proc/self/net/dev", encoding="ascii") as devices:
        return parse_net_dev(devices.read(), "lo")


def enter_private_network():
    """Moves this process into a network namespace that holds a loopback and nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        flags = CLONE_NEWNET
        maps = ()
    else:
        flags = CLONE_NEWUSER | CLONE_NEWNET
        maps = (("setgroups", "deny"), ("uid_map", f"0 {os.getuid()} 1"), ("gid_map", f"0 {os.getgid()} 1"))
    if libc.unshare(flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"no private network namespace: {os.strerror(error)}")
    for name, text in maps:
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(probe, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def is_running(pid):
    """False for one that ended, also while nobody has collected it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(pid, grace=5.0):
    """Ends one process that we started, by its id."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        if wait_until(lambda: not is_running(pid), grace):
            return
    raise TimeoutError(f"process {pid} does not end")


def wait_until(is_so, seconds, step=0.01):
    """True when it came to be so within the time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        time.sleep(step)
    return True

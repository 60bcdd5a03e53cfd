"""Reading the kernel's texts, and ending processes."""

import os
import signal
import subprocess
import sys
import time
import unittest

import fleet
import machine
import parts

ROLLUP = """55d0c0a0e000-7ffd0b3f9000 ---p 00000000 00:00 0                          [rollup]
Rss:                5432 kB
Pss:                3210 kB
Pss_Dirty:          1000 kB
Pss_Anon:           1024 kB
Locked:                0 kB
"""

NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
    lo:  111    22    0    0    0     0          0         0      444    22    0    0    0     0       0          0
"""


class Texts(unittest.TestCase):
    def test_memory_comes_out_of_the_rollup(self):
        self.assertEqual(machine.parse_rollup(ROLLUP), (3210 * 1024, 1024 * 1024))
        with self.assertRaises(KeyError):
            machine.parse_rollup("Rss: 1 kB\n")

    def test_sent_bytes_come_out_of_the_device_table(self):
        self.assertEqual(machine.parse_net_dev(NET_DEV, "lo"), 444)
        self.assertEqual(machine.parse_net_dev(NET_DEV, "eth0"), 9)
        with self.assertRaises(ValueError):
            machine.parse_net_dev(NET_DEV, "eth")

    def test_an_environment_file_is_read_as_a_shell_would(self):
        text = "# made by dev up\nexport A='it'\\''s b'\nB=plain\nexport C=\"x y\" D=z\n"
        self.assertEqual(fleet.parse_environment(text), {"A": "it's b", "B": "plain", "C": "x y", "D": "z"})


class Processes(unittest.TestCase):
    def test_processor_time_of_a_process_grows_with_its_work(self):
        pid = os.getpid()
        before = machine.cpu_seconds(pid)
        own = time.process_time()
        sum(range(1_000_000))
        self.assertAlmostEqual(machine.cpu_seconds(pid) - before, time.process_time() - own, delta=0.01)
        self.assertGreater(machine.cpu_seconds(pid), before)

    def test_a_process_that_ignores_the_request_is_ended_all_the_same(self):
        ignore = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); " \
                 "sys.stdout.flush(); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", ignore], stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            self.assertTrue(machine.is_running(child.pid))
            machine.end(child.pid, grace=0.2)
            self.assertFalse(machine.is_running(child.pid))
        self.assertEqual(child.returncode, -signal.SIGKILL)

    def test_waiting_gives_up(self):
        self.assertFalse(machine.wait_until(lambda: False, 0.02))
        self.assertTrue(machine.wait_until(lambda: True, 0))

    def test_memory_of_a_process_is_more_than_its_anonymous_part(self):
        pss, anon = machine.memory(os.getpid())
        self.assertGreater(pss, anon)
        self.assertGreater(anon, 0)


class Choice(unittest.TestCase):
    def test_losses_are_spread_over_the_nodes(self):
        nodes = [f"node-{index:02}" for index in range(28)]
        self.assertEqual(len(set(parts.chosen(nodes, 20))), 20)
        self.assertEqual(parts.chosen(nodes, 20), parts.chosen(nodes, 20))
        self.assertEqual(parts.chosen(["a"], 3), ["a", "a", "a"])


if __name__ == "__main__":
    unittest.main()

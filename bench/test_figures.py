"""What the table says, and what is made of measured values."""

import json
import unittest

import figures
from figures import Figure


class Verdicts(unittest.TestCase):
    def test_a_figure_is_held_against_both_limits(self):
        for value, expected in ((0.4, "within aim"), (0.41, "within must"), (0.9, "within must"), (0.91, "over budget")):
            self.assertEqual(Figure("agent.cpu", value).verdict(), expected)

    def test_values_per_round_have_a_least_number(self):
        self.assertEqual(Figure("agent.values", 60).verdict(), "within aim")
        self.assertEqual(Figure("agent.values", 59).verdict(), "under budget")

    def test_what_was_not_measured_says_why(self):
        self.assertEqual(Figure("agent.cpu", missing="no agent").verdict(), "not measured: no agent")
        self.assertEqual(Figure("agent.cpu", missing="no agent", is_skipped=True).verdict(), "skipped: no agent")


class Tables(unittest.TestCase):
    def test_columns_are_aligned(self):
        lines = figures.table([Figure("agent.cpu", 0.1234), Figure("agent.wire", missing="no agent")])
        self.assertEqual(lines, [
            "what                              measured    must     aim  verdict",
            "agent: CPU per round              0.123 ms  0.9 ms  0.4 ms  within aim",
            "agent: wire per round, both ways         -   600 B   400 B  not measured: no agent",
        ])

    def test_numbers_keep_three_significant_digits(self):
        for value, text in ((0, "0"), (0.00123456, "0.00123"), (1.5, "1.5"), (12.345, "12.3"), (1234.5, "1234"),
                            (100, "100"), (-3.14159, "-3.14")):
            self.assertEqual(figures.number(value), text)

    def test_json_carries_budget_and_verdict(self):
        text = figures.as_json([Figure("agent.pss", 3.5, detail={"seconds": 60})], {"cpus": 2})
        row = json.loads(text)["figures"][0]
        self.assertEqual((row["value"], row["must"], row["aim"], row["unit"]), (3.5, 6, 4, "MiB"))
        self.assertEqual((row["verdict"], row["detail"]), ("within aim", {"seconds": 60}))


class Statistics(unittest.TestCase):
    def test_percentiles_are_measured_values(self):
        values = list(range(100, 0, -1))
        self.assertEqual(figures.percentile(values, 50), 50)
        self.assertEqual(figures.percentile(values, 99), 99)
        self.assertEqual(figures.percentile([3, 1, 2], 99), 3)
        self.assertEqual(figures.percentile([7], 50), 7)

    def test_the_median_of_an_even_number_lies_between(self):
        self.assertEqual(figures.median([4, 1, 3, 2]), 2.5)
        self.assertEqual(figures.median([5, 1, 3]), 3)


if __name__ == "__main__":
    unittest.main()

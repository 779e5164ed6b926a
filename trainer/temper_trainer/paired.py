"""By how much the tuned model differs from the base, judged on the rows that both have answered: what makes a row hard makes it hard
for both, so the difference is known better than either figure."""

import math
from dataclasses import asdict, dataclass

import numpy as np

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Change:
    """`value` with its 95 % interval, and the probability of one at least as large if the models were equally good (two-sided).
    Of an accuracy: tuned less base, a share. Of a perplexity: tuned divided by base."""

    value: float
    low: float
    high: float
    pValue: float

    def facts(self) -> dict:
        return asdict(self)


def accuracy_change(base_right: list[bool], tuned_right: list[bool]) -> Change:
    """Agresti and Min's adjusted interval of a difference of paired shares; McNemar's test, exact."""
    count = len(base_right)
    gained = sum(after and not before for before, after in zip(base_right, tuned_right, strict=True))
    lost = sum(before and not after for before, after in zip(base_right, tuned_right, strict=True))
    # Half a row more of each of the four kinds keeps the interval honest where few rows differ.
    more, less, rows = gained + 0.5, lost + 0.5, count + 2
    centre = (more - less) / rows
    half = Z95 * math.sqrt(more + less - (more - less) ** 2 / rows) / rows
    differing, rarer = gained + lost, min(gained, lost)
    tail = sum(math.comb(differing, number) for number in range(rarer + 1))
    return Change((gained - lost) / count, max(-1.0, centre - half), min(1.0, centre + half), min(1.0, 2 * tail / 2**differing))


def perplexity_change(base_sums: np.ndarray, tuned_sums: np.ndarray, counts: np.ndarray) -> Change:
    """From each example's summed loss and its trained tokens. The mean loss a token is a ratio of sums over examples, which are
    taken as independent, tokens within one not (delta method). One example alone says nothing of the spread."""
    examples, tokens = len(counts), counts.sum()
    differences = tuned_sums - base_sums
    mean = differences.sum() / tokens
    if examples < 2:
        return Change(safe_exp(mean), safe_exp(mean), safe_exp(mean), 1.0)
    residuals = differences - mean * counts
    error = math.sqrt((residuals**2).sum() * examples / (examples - 1)) / tokens
    chance = math.erfc(abs(mean) / error / math.sqrt(2)) if error > 0 else float(mean == 0)
    return Change(safe_exp(mean), safe_exp(mean - Z95 * error), safe_exp(mean + Z95 * error), chance)


def safe_exp(exponent: float) -> float:
    return math.exp(min(exponent, 700.0)) if not math.isnan(exponent) else math.nan

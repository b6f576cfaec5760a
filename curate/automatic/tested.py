"""What the confirmation found, and what an answer would take where it found none."""

from typing import TYPE_CHECKING, Any

import numpy as np

from curate.automatic.halving import Candidate
from curate.automatic.schedule import spend_for
from curate.automatic.sentences import takes
from curate.comparison.judging import item_weights
from curate.comparison.power import seeds_to_decide, what_it_would_take
from curate.comparison.statistics import Difference, paired_difference
from curate.comparison.verdict import Verdict

if TYPE_CHECKING:
    from curate.automatic.ladder import Ladder

COPIED = (
    "method", "budget", "task", "metric", "seeds", "mean", "ci_low", "ci_high", "p_value", "answer", "vs_matched",
    "vs_matched_low", "vs_matched_high", "vs_matched_answer",
)  # fmt: skip


def tested_of(verdict: Verdict, winner: Candidate) -> dict[str, Any]:
    """The one test of a confirmation, as `Outcome.tested` has it."""
    arm = next(arm for arm in verdict.arms if (arm["method"], arm["budget"]) == (winner.method, winner.budget))
    found = {name: arm[name] for name in COPIED}
    assert verdict.evidence is not None
    return {
        **found,
        "diff": arm["diff_from_random"],
        "random": arm["mean"] - arm["diff_from_random"],
        "tokens": verdict.config["train_tokens"],
        "items": verdict.evidence.items().height,
    }


def would_take(ladder: "Ladder", verdict: Verdict, winner: Candidate, alpha: float) -> str:
    """One sentence: the seeds or items, and the spend, that would decide a difference of the observed size."""
    found = difference(verdict, winner, confidence=1 - alpha)
    seeds = seeds_to_decide(found, alpha=alpha, family=1)
    amount = None if seeds is None else spend_for(ladder.prices, ladder.schedule.methods, seeds)
    sentence = what_it_would_take(found, alpha=alpha, family=1)
    return sentence if amount is None or seeds is None else takes(sentence, seeds, ladder.ledger.spend, amount)


def difference(verdict: Verdict, winner: Candidate, confidence: float) -> Difference:
    """The winner's paired difference from random, from the evidence of its confirmation."""
    evidence = verdict.evidence
    assert evidence is not None
    task = evidence.measures[0]
    chosen = {
        method: [result for arm, result in evidence.results.items() if (arm.method, arm.budget) == (method, winner.budget)]
        for method in (winner.method, "random")
    }
    weights, strata = item_weights(task, chosen["random"][0])
    mine, control = (np.stack([result.values(task.name) for result in found]) for found in chosen.values())
    return paired_difference(mine, control, weights, strata, confidence=confidence)

"""What a search says in words."""

from collections.abc import Mapping
from typing import Any

from curate.automatic.halving import Candidate, Standing
from curate.automatic.schedule import Schedule
from curate.automatic.spend import Spend
from curate.comparison.design import Design
from curate.evaluation.metrics import find_metric
from curate.wording import counted

AT_EQUAL_TOKENS = "at equal training tokens"


def why(standing: Standing, rung: int, cut: float, going_on: int) -> str:
    """Why an arm fell on a rung."""
    against = f", {standing.diff:+.3f} from random"
    if standing.ci_low is not None and standing.ci_high is not None:
        against += f" ({standing.ci_low:+.3f} to {standing.ci_high:+.3f})"
    best = "the best had" if going_on == 1 else f"the best {going_on} had"
    return f"rung {rung}: {standing.value:.3f}{against}; {best} {cut:.3f} or better"


def used(winner: Candidate, tested: Mapping[str, Any]) -> str:
    """The winner beats random."""
    how = find_metric(tested["metric"])
    words = "held-out loss" if tested["metric"] == "response_loss" else how.title
    less = "lower" if how.lower_is_better else "higher"
    said = (
        f"Use {winner.name}: {words} {tested['mean']:.3f}, {abs(tested['diff']):.3f} {less} than random {AT_EQUAL_TOKENS} "
        f"({tested['ci_low']:+.3f} to {tested['ci_high']:+.3f}), confirmed on {counted(tested['items'], 'conversation')} that "
        "took no part in the search."
    )
    also = {
        "better": "It also beats random rows with replies as long",
        "worse": "But random rows with replies as long are better",
        "equivalent": "But random rows with replies as long are as good",
    }
    if tested["vs_matched_answer"] is None:
        return said
    start = also.get(tested["vs_matched_answer"], "It is not shown to beat random rows with replies as long")
    return f"{said} {start} ({tested['vs_matched']:+.3f})."


def use_random(winner: Candidate, tested: Mapping[str, Any]) -> str:
    """The best arm is confirmed to be no better."""
    found = "is worse than random" if tested["answer"] == "worse" else "is equivalent to random"
    return (
        f"Use random: the best of what was tried, {winner.name}, {found} {AT_EQUAL_TOKENS} ({tested['diff']:+.3f}, "
        f"{tested['ci_low']:+.3f} to {tested['ci_high']:+.3f}) on conversations that took no part in the search."
    )


def undecided(winner: Candidate, tested: Mapping[str, Any] | None, why_not: str | None) -> str:
    """Nothing is shown, or nothing was tested."""
    if tested is None:
        return f"Undecided: {winner.name} came out of the search first, but {why_not}."
    return (
        f"Undecided: {winner.name} came out of the search first, and is not shown to differ from random {AT_EQUAL_TOKENS} "
        f"({tested['diff']:+.3f}, {tested['ci_low']:+.3f} to {tested['ci_high']:+.3f}). Until then random is the cheaper choice."
    )


def rests_on(schedule: Schedule, tested: Mapping[str, Any], design: Design) -> list[str]:
    """What a confirmed answer holds for."""
    said = [
        f"The confirmation is one test at the level {design.alpha:.2g}, of the winner alone, with "
        f"{counted(tested['seeds'], 'seed')} and {counted(tested['items'], 'item')} that took no part in the halving, so it need "
        "not be corrected for how many arms were tried."
    ]
    if tested["tokens"] < (design.recipe.tokens or 0):
        said.append(
            f"The spend allowed trainings of {tested['tokens']:,} tokens where {design.recipe.tokens:,} were asked for: the "
            "answer is of such short ones, and a larger --spend makes them longer."
        )
    return said


def takes(sentence: str, seeds: int, spend: Spend, amount: float) -> str:
    """What an answer would take, in seeds and items and in the spend."""
    return f"{sentence} A spend of about {spend.say(amount)} is laid out with {counted(seeds, 'seed')} or more."

"""How a spend is laid out: arms, seeds and tokens of each rung, and of the confirmation, which is set aside first. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import log2
from typing import Any

from curate.automatic.halving import sizes
from curate.automatic.spend import Spend
from curate.comparison.choosing import Cost
from curate.errors import InputError

PLANNED = 0.9  # share of the spend that is laid out: what is predicted is not what comes
CONFIRMED = 0.5  # share of that for the confirmation, at most, unless its least does not fit
CONFIRMATION_SEEDS = (3, 5, 20)  # the fewest; as many before trainings may be shorter than in full; the most
RUNG_SEEDS = 5  # of a rung, at most
ROUNDING = 1e-6  # of a token
CONFIRMED_ARMS = 3  # the winner, random, and random rows with replies as long


@dataclass(frozen=True)
class Rates:
    """What pieces of a search take, predicted.

    training      of one arm, whatever its length; token: of each token trained on.
    halving, confirmation   of evaluating one model on either part.
    scoring       by method: for the first seed, and for each further one (what does not hang on the seed is made once).
    together      the same of all methods at once, which share passes.
    """

    training: Cost
    token: Cost
    halving: Cost
    confirmation: Cost
    scoring: Mapping[str, tuple[Cost, Cost]]
    together: tuple[Cost, Cost]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Rates":
        costs = {name: Cost(**given[name]) for name in ("training", "token", "halving", "confirmation")}
        pair = lambda found: (Cost(**found[0]), Cost(**found[1]))  # noqa: E731
        scoring = {name: pair(found) for name, found in given["scoring"].items()}
        return cls(**costs, scoring=scoring, together=pair(given["together"]))


@dataclass(frozen=True)
class Rung:
    """arms: candidates on it, random not counted. references: how many random arms beside them, one for each budget.

    cost: predicted, in the unit of the spend, scoring for further seeds in it.
    """

    arms: int
    references: int
    seeds: int
    tokens: int
    cost: float


@dataclass(frozen=True)
class Confirmation:
    """seeds, tokens of each training, and the predicted cost in the unit of the spend, with the winner's scoring."""

    seeds: int
    tokens: int
    cost: float


@dataclass(frozen=True)
class Schedule:
    """methods: those that are tried. refused: why others are not. scoring: predicted, of the first seed."""

    methods: tuple[str, ...]
    refused: Mapping[str, str]
    scoring: float
    rungs: tuple[Rung, ...]
    confirmation: Confirmation

    @property
    def cost(self) -> float:
        return self.scoring + sum(rung.cost for rung in self.rungs) + self.confirmation.cost

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Prices:
    """Rates in the unit of one spend, times what the machine has since been seen to take of them (`factor`)."""

    spend: Spend
    rates: Rates
    budgets: int
    full: int  # tokens of a training, where the spend allows
    least: int  # tokens of the shortest training that says anything
    factor: float = 1.0

    def _of(self, cost: Cost) -> float:
        return self.factor * self.spend.of(cost)

    def first(self, method: str) -> float:
        """Scoring by a method for one seed."""
        return self._of(self.rates.scoring[method][0])

    def more(self, method: str) -> float:
        """Scoring by a method for each further seed."""
        return self._of(self.rates.scoring[method][1])

    def all_first(self, methods: Sequence[str]) -> float:
        """Scoring by several methods for one seed, at most: what some share is not known, what all do is."""
        return min(sum(map(self.first, methods)), self._of(self.rates.together[0]))

    def arm(self, tokens: int, *, confirming: bool = False) -> float:
        """A training and its evaluation."""
        measured = self.rates.confirmation if confirming else self.rates.halving
        return self._of(self.rates.training) + tokens * self._of(self.rates.token) + self._of(measured)

    def references(self, arms: int) -> int:
        """Random arms beside so many candidates."""
        return min(self.budgets, arms)

    def rung(self, arms: int, seeds: int, tokens: int, before: int, methods: Sequence[str]) -> Rung:
        """A rung on so many seeds, of which the rungs before have scored `before`; scoring at its most expensive."""
        references = self.references(arms)
        dear = sorted((self.more(method) for method in methods), reverse=True)[: min(arms, len(methods))]
        scoring = min(sum(dear), self._of(self.rates.together[1]))
        cost = (arms + references) * seeds * self.arm(tokens) + max(0, seeds - before) * scoring
        return Rung(arms, references, seeds, tokens, cost)

    def confirm(self, seeds: int, tokens: int, methods: Sequence[str]) -> Confirmation:
        """The confirmation of whichever method wins: fresh seeds, at its most expensive; and the model as it is, evaluated."""
        dear = max((self.more(method) for method in methods), default=0.0)
        untrained = self._of(self.rates.confirmation)
        cost = CONFIRMED_ARMS * seeds * self.arm(tokens, confirming=True) + seeds * dear + untrained
        return Confirmation(seeds, tokens, cost)


def lay_out(prices: Prices, methods: Sequence[str], money: float) -> Schedule:
    """The schedule for so much money, in the unit of the spend. Methods that do not fit are refused, the dearest first.

    Raises InputError, with the spend that would do, where not even the smallest search fits.
    """
    refused: dict[str, str] = {}
    alone = {method: smallest(prices, [method]) for method in methods}
    for method, cost in alone.items():
        if cost > money and min(alone.values()) <= money:
            takes = prices.spend.say(prices.first(method))
            refused[method] = f"too dear: scoring takes about {takes}, and with the shortest trainings it does not fit"
    admitted = [method for method in methods if method not in refused]
    while True:
        found = _laid_out(prices, admitted, money, refused)
        if found is not None:
            return found
        if len(admitted) == 1:
            # What was planned is a share of the spend, so the spend that would do is that much larger.
            enough = prices.spend.amount - money + smallest(prices, admitted) / PLANNED * 1.1
            said = prices.spend.say(enough)
            raise InputError(f"a spend of {prices.spend} is too little for one arm and its confirmation; about {said} would do")
        dearest = max(reversed(admitted), key=prices.first)
        admitted.remove(dearest)
        takes = f"scoring takes about {prices.spend.say(prices.first(dearest))}, and " if prices.first(dearest) else ""
        refused[dearest] = f"too dear beside the others: {takes}the shortest trainings of all do not fit"


def smallest(prices: Prices, methods: Sequence[str]) -> float:
    """What the smallest search over methods takes: one rung of one seed, where there is more than one arm, and a confirmation."""
    arms = len(methods) * prices.budgets
    rung = prices.rung(arms, 1, prices.least, 1, methods).cost if arms > 1 else 0.0
    return prices.all_first(methods) + rung + prices.confirm(CONFIRMATION_SEEDS[0], prices.least, methods).cost


def _laid_out(prices: Prices, methods: Sequence[str], money: float, refused: Mapping[str, str]) -> Schedule | None:
    scoring, arms = prices.all_first(methods), len(methods) * prices.budgets
    money -= scoring
    rungs: tuple[Rung, ...] = ()
    share = money if arms == 1 else max(CONFIRMED * money, prices.confirm(CONFIRMATION_SEEDS[0], prices.least, methods).cost)
    confirmation = fit_confirmation(prices, methods, share)
    if confirmation is None or share > money:
        return None
    if arms > 1:
        found = _rungs(prices, methods, arms, money - confirmation.cost)
        if found is None:
            return None
        rungs = found
    return Schedule(tuple(methods), dict(refused), scoring, rungs, confirmation)


def fit_confirmation(prices: Prices, methods: Sequence[str], money: float) -> Confirmation | None:
    """The best confirmation for so much: full length first, then more seeds than five; fewer only where nothing else fits."""
    fewest, usual, most = CONFIRMATION_SEEDS
    if prices.confirm(usual, prices.full, methods).cost <= money:
        fits = [s for s in range(usual, most + 1) if prices.confirm(s, prices.full, methods).cost <= money]
        return prices.confirm(fits[-1], prices.full, methods)
    for seeds in range(usual, fewest - 1, -1):
        bare = prices.confirm(seeds, 0, methods).cost
        each = prices.confirm(seeds, 1, methods).cost - bare
        tokens = min(prices.full, int((money - bare) / each + ROUNDING)) if each else prices.full
        if tokens >= prices.least:
            return prices.confirm(seeds, tokens, methods)
    return None


def _rungs(prices: Prices, methods: Sequence[str], arms: int, money: float) -> tuple[Rung, ...] | None:
    """As many rungs as halve the arms each, with equal money; fewer where trainings would be too short."""
    for count in range(max(1, int(log2(arms))), 0, -1):
        rungs: list[Rung] = []
        left, before = money, 1
        for number, size in enumerate(sizes(arms, count)):
            found = _rung(prices, methods, size, 1 + number, before, left / (count - number))
            if found is None:
                break
            rungs.append(found)
            left, before = left - found.cost, max(before, found.seeds)
        if len(rungs) == count:
            return tuple(rungs)
    return None


def _rung(prices: Prices, methods: Sequence[str], arms: int, seeds: int, before: int, money: float) -> Rung | None:
    """A rung of so many seeds for so much; fewer seeds where trainings would be too short, more where they would be too long."""
    for wanted in range(min(seeds, RUNG_SEEDS), 0, -1):
        bare = prices.rung(arms, wanted, 0, before, methods).cost
        each = prices.rung(arms, wanted, 1, before, methods).cost - bare
        tokens = int((money - bare) / each + ROUNDING) if each else prices.full
        if tokens > prices.full:
            fits = [s for s in range(wanted, RUNG_SEEDS + 1) if prices.rung(arms, s, prices.full, before, methods).cost <= money]
            return prices.rung(arms, max(fits, default=wanted), prices.full, before, methods)
        if tokens >= prices.least:
            return prices.rung(arms, wanted, tokens, before, methods)
    return None


def shrunk(prices: Prices, rung: Rung, arms: int, before: int, methods: Sequence[str], money: float) -> Rung | None:
    """A planned rung as it still fits: as it is, with fewer seeds, then with half the tokens, and so on; None where none does."""
    tokens = rung.tokens
    while tokens >= min(prices.least, rung.tokens):
        for seeds in range(rung.seeds, 0, -1):
            found = prices.rung(arms, seeds, tokens, before, methods)
            if found.cost <= money:
                return found
        tokens //= 2
    return None


def shrunk_confirmation(prices: Prices, planned: Confirmation, methods: Sequence[str], money: float) -> Confirmation | None:
    """The same of the confirmation, with three seeds at least."""
    tokens = planned.tokens
    while tokens >= min(prices.least, planned.tokens):
        for seeds in range(planned.seeds, CONFIRMATION_SEEDS[0] - 1, -1):
            found = prices.confirm(seeds, tokens, methods)
            if found.cost <= money:
                return found
        tokens //= 2
    return None


def slower(prices: Prices, predicted: float, took: float) -> Prices:
    """Prices after a part that was predicted to take so much took something else."""
    return replace(prices, factor=prices.factor * took / predicted) if predicted > 0 and took > 0 else prices


def spend_for(prices: Prices, methods: Sequence[str], seeds: int) -> float | None:
    """The smallest spend, to within a tenth, whose confirmation would have so many seeds; None where no spend does."""
    if seeds > CONFIRMATION_SEEDS[2]:
        return None
    amount = prices.spend.amount
    for _ in range(100):
        amount *= 1.1
        try:
            found = lay_out(replace(prices, spend=replace(prices.spend, amount=amount)), methods, PLANNED * amount)
        except InputError:
            continue
        if found.confirmation.seeds >= seeds:
            return amount
    return None

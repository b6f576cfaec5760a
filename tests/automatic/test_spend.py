"""What may be spent: read from text, and taken down by a clock."""

import pytest

from curate.automatic.spend import Ledger, Metered, Overspent, Spend
from curate.comparison.choosing import Cost
from curate.errors import InputError
from curate.jobs import Job, Loop


class Clock:
    """Tells what it is set to."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    "text, amount, unit",
    [
        ("90s", 90, "seconds"), ("20min", 1200, "seconds"), ("20 minutes", 1200, "seconds"), ("1.5h", 5400, "seconds"),
        ("1h30min", 5400, "seconds"), ("1h 30m 5 sec", 5405, "seconds"), ("2d", 172800, "seconds"), ("1 day", 86400, "seconds"),
        ("1e15", 1e15, "FLOPs"), ("1e15FLOPs", 1e15, "FLOPs"), ("2.5e+15 flops", 2.5e15, "FLOPs"), ("3 PFLOPs", 3e15, "FLOPs"),
        ("5TFLOP", 5e12, "FLOPs"), (1e15, 1e15, "FLOPs"),
    ],
)  # fmt: skip
def test_a_spend_is_read(text, amount, unit):
    assert Spend.parse(text) == Spend(amount, unit)
    assert Spend.parse(Spend.parse(text)) == Spend(amount, unit)


@pytest.mark.parametrize(
    "text, said",
    [
        ("20", "has no unit"), (20, "has no unit"), ("", "cannot be read"), ("min", "cannot be read"), ("20 parsecs", "cannot be read"),
        ("20min later", "cannot be read"), ("-5min", "cannot be read"), ("0s", "above 0"), ("0", "above 0"), ("1e999", "finite"),
    ],
)  # fmt: skip
def test_what_is_no_spend_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        Spend.parse(text)


def test_the_ledger_counts_time_by_its_clock():
    clock = Clock()
    ledger = Ledger(Spend(100, "seconds"), clock)
    with ledger.part("reading"):
        clock.now += 30
        assert (ledger.spent, ledger.left) == (30, 70)
    clock.now += 5  # between two parts
    with ledger.part("training", predicted=10) as part:
        clock.now += 20
        part.add(Cost(15.0, 7.0), Cost(1.0, 1.0))  # the clock has more
    assert [(item.what, item.seconds, item.flops, item.predicted) for item in ledger.items] == [
        ("reading", 30, 0, None), ("training", 20, 8, 10),
    ]  # fmt: skip
    assert ledger.spent == 50


def test_what_an_earlier_run_took_counts():
    clock = Clock()
    ledger = Ledger(Spend(100, "seconds"), clock)
    with ledger.part("training") as part:
        clock.now += 1  # everything was in the store
        part.add(Cost(40.0, 0.0))
    assert ledger.spent == 40


def test_operations_are_counted_and_time_is_not():
    clock = Clock()
    ledger = Ledger(Spend(1e9, "FLOPs"), clock)
    with ledger.part("training", each=1e8) as part:
        clock.now += 1e6
        part.admit(Job("arm", "", lambda: None))
        assert ledger.spent == 1e8  # as predicted, until it is known
        part.add(Cost(1.0, 3e8))
    assert ledger.left == 7e8


def test_an_arm_that_would_not_fit_is_not_begun():
    clock, done = Clock(), []
    ledger = Ledger(Spend(100, "seconds"), clock)

    def work(name):
        clock.now += 20
        done.append(name)

    jobs = [Job("arm", str(n), lambda n=n: work(n)) for n in range(9)]
    with ledger.part("training", each=20.0, reserve=30.0) as part, pytest.raises(Overspent):
        Metered(Loop(), part).run(jobs)
    assert done == [0, 1, 2] and ledger.spent == 60
    with ledger.part("training", each=20.0) as part, pytest.raises(Overspent):
        Metered(Loop(), part).run(jobs)
    assert done == [0, 1, 2, 0, 1] and ledger.left == 0


def test_what_is_slower_than_thought_leaves_more_for_what_is_to_come():
    clock, done = Clock(), []
    ledger = Ledger(Spend(200, "seconds"), clock)

    def work(name):
        clock.now += 20
        done.append(name)

    jobs = [Job("arm", str(n), lambda n=n: work(n)) for n in range(9)]
    with ledger.part("training", each=10.0, reserve=50.0) as part, pytest.raises(Overspent):
        Metered(Loop(), part).run(jobs)
    assert len(done) == 5 and ledger.left == 100  # twice the 50


def test_what_only_concludes_is_let_through():
    clock = Clock()
    ledger = Ledger(Spend(100, "seconds"), clock)
    clock.now = 100
    with ledger.part("concluding", reserve=101.0) as part:
        assert Metered(Loop(), part).run([Job("verdict", "", lambda: 5), Job("selection", "", lambda: 6)]) == [5, 6]
        with pytest.raises(Overspent):
            Metered(Loop(), part).run([Job("pass", "", lambda: 7)])

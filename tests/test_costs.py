import math

import pytest

from curate.costs import break_even, efficiency, improvement, mapped_improvement, share
from curate.errors import InputError


def test_break_even_by_hand():
    # 10 to select, then 1 instead of 4 for each training: 10 + n <= 4 n from n = 4 on
    assert break_even(selection=10, on_selection=1, without=4) == 4
    assert break_even(selection=9, on_selection=1, without=4) == 3
    assert break_even(selection=0.5, on_selection=1, without=4) == 1
    assert break_even(selection=0, on_selection=1, without=4) == 1


@pytest.mark.parametrize("selection", [0.0, 1.0, 7.0, 100.0])
@pytest.mark.parametrize(("on", "without"), [(1.0, 1.1), (2.0, 9.0), (0.0, 3.0)])
def test_break_even_is_the_first_training_at_which_the_total_is_no_larger(selection, on, without):
    slow = next(n for n in range(1, 10_000) if selection + n * on <= n * without + 1e-9)
    assert break_even(selection=selection, on_selection=on, without=without) == slow


def test_what_saves_nothing_never_pays():
    assert break_even(selection=10, on_selection=4, without=4) is None  # as random at equal tokens
    assert break_even(selection=0, on_selection=5, without=4) is None
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError):
            break_even(selection=bad, on_selection=1, without=2)


def test_share():
    assert share(300, 6000) == 0.05
    assert share(0, 6000) == 0
    assert share(0, 0) is None
    with pytest.raises(InputError):
        share(7, 6)


def test_improvement_is_the_mean_ratio():
    assert improvement([0.5, 0.3], [0.4, 0.6]) == pytest.approx((1.25 + 0.5) / 2)
    assert improvement([2.0], [3.0], lower_is_better=True) == pytest.approx(1.5)  # a lower loss is above 1
    assert improvement([2.0, 0.3], [3.0, 0.6], lower_is_better=[True, False]) == pytest.approx((1.5 + 0.5) / 2)


def test_improvement_is_unknown_where_a_ratio_is():
    for selected, full, lower in (([], [], False), ([0.5], [0.0], False), ([0.0], [0.5], True), ([-0.5], [0.5], False)):
        assert improvement(selected, full, lower_is_better=lower) is None
    assert improvement([math.nan], [0.5]) is None
    assert improvement([0.0], [0.5]) == 0
    with pytest.raises(InputError):
        improvement([0.5], [0.5, 0.6])


@pytest.mark.parametrize(
    ("ratio", "same", "expected"),
    [(0.949, True, 1.284), (1.01, True, 1.475), (0.985, False, 1.344), (1.000, False, 1.426)],
)
def test_the_maps_go_through_their_anchors(ratio, same, expected):
    assert mapped_improvement(ratio, same_benchmark=same) == pytest.approx(expected)


def test_the_maps_are_those_of_the_survey():
    assert mapped_improvement(1.2, same_benchmark=True) == pytest.approx(3.1311 * 1.2 - 1.6875, abs=2e-4)
    assert mapped_improvement(1.2, same_benchmark=False) == pytest.approx(5.4667 * 1.2 - 4.0407, abs=2e-4)
    assert mapped_improvement(None, same_benchmark=True) is None


def test_efficiency_is_the_signed_distance_to_the_base_line():
    assert efficiency(0.025, 1.400) == pytest.approx(0, abs=1e-12)
    assert efficiency(0.06, 1.443) == pytest.approx(0, abs=1e-12)
    assert efficiency(0.05, 1.747) == pytest.approx((1.747 - 1.2286 * 0.05 - 1.3693) / math.sqrt(1 + 1.2286**2), abs=1e-4)
    assert efficiency(0.05, None) is None and efficiency(None, 1.4) is None
    published = {"IFD": (0.05, 1.747), "SelectIT": (0.20, 1.653), "LESS": (0.05, 1.491), "DEITA": (0.10, 1.426)}
    order = sorted(published, key=lambda name: -efficiency(*published[name]))
    assert order == ["IFD", "LESS", "SelectIT", "DEITA"]
    assert efficiency(*published["LESS"]) > 0 > efficiency(*published["DEITA"])

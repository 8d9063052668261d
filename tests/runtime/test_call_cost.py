"""What a call costs: the line through a warm-up and the calls since."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtime.call_cost import CallCost, measured

WARM_UP = ((1, 0.15), (2, 0.2), (4, 0.3))


def test_nothing_is_known_at_first():
    cost = CallCost()
    assert not cost.is_known
    assert cost.line == (0.0, 0.0)
    assert cost.seconds(3) == 0.0
    assert cost.best(8) == 8


def test_a_warm_up_tells_what_a_call_costs_and_what_each_item_adds():
    cost = CallCost(WARM_UP)
    assert cost.line == pytest.approx((0.1, 0.05))
    assert cost.seconds(8) == pytest.approx(0.5)
    assert cost.seconds(0) == 0.0
    assert cost.within(0.5, 64) == 8
    assert cost.within(0.5, 4) == 4
    assert cost.within(0.01, 64) == 1


@pytest.mark.parametrize(
    ("warm_up", "best"),
    [
        pytest.param(((1, 0.15), (4, 0.3)), 38, id="19 times the cost of a call in items"),
        pytest.param(((1, 0.1), (4, 0.4)), 2, id="nothing is gained"),
        pytest.param(((1, 0.2), (4, 0.5)), 19, id="half of the first goes to the call"),
        pytest.param(((1, 0.1), (4, 0.1)), 64, id="items cost nothing"),
        pytest.param(((1, 0.1), (4, 0.09)), 64, id="items cost less than nothing"),
        pytest.param(((1, 0.1),), 64, id="one size tells nothing"),
        pytest.param(((1, 1e-5), (4, 4e-5)), 64, id="too short to matter"),
    ],
)
def test_so_many_items_that_more_gain_little(warm_up, best):
    assert CallCost(warm_up).best(64) == best


def test_calls_of_one_size_move_the_line_and_keep_its_shape():
    cost = CallCost(WARM_UP)
    for _ in range(50):
        cost.observe(4, 0.6)
    assert cost.line == pytest.approx((0.2, 0.1))
    assert cost.best(64) == CallCost(WARM_UP).best(64)


def test_calls_of_several_sizes_give_the_line_a_shape_of_their_own():
    cost = CallCost(WARM_UP)
    for n in range(50):
        items = 1 + n % 4
        cost.observe(items, 0.02 + 0.3 * items)
    assert cost.line == pytest.approx((0.02, 0.3))
    # The times of calls under load spread; what the quiet measurement says is tried, too.
    assert cost.best(64) == CallCost(WARM_UP).best(64) == 38


def test_calls_that_gain_more_than_the_warm_up_said_take_more():
    cost = CallCost(((1, 0.1), (4, 0.4)))
    assert cost.best(64) == 2
    for n in range(50):
        items = 1 + n % 4
        cost.observe(items, 0.3 + 0.1 * items)
    assert cost.best(64) == 57


def test_calls_alone_tell_how_long_but_not_how_many():
    cost = CallCost()
    cost.observe(2, 0.4)
    assert cost.is_known
    assert cost.seconds(1) == pytest.approx(0.2)
    assert cost.best(8) == 8


def test_where_further_items_take_no_time_all_go_at_once():
    cost = CallCost(((1, 0.1), (2, 0.1)))
    assert cost.line == (0.1, 0.0)
    assert cost.best(64) == cost.within(0.1, 64) == 64


def test_what_was_long_ago_fades():
    cost = CallCost()
    for seconds in (10.0, 1.0):
        for n in range(1000):
            cost.observe(1 + n % 2, seconds * (1 + n % 2))
    assert cost.seconds(1) == pytest.approx(1.0, rel=0.01)


@given(
    st.lists(st.tuples(st.integers(1, 64), st.floats(0, 1e3)), max_size=30),
    st.integers(1, 64),
    st.floats(0, 1e4),
)
def test_whatever_was_seen_no_part_is_negative(calls, most, seconds):
    cost = CallCost()
    for items, took in calls:
        cost.observe(items, took)
    assert min(cost.line) >= 0
    assert 1 <= cost.best(most) <= most
    assert 1 <= cost.within(seconds, most) <= most


def test_sizes_double_up_to_the_most():
    sizes = []
    points = measured(sizes.append, 12, 60.0)
    assert sizes == [1, 1, 2, 2, 4, 4, 8, 8]
    assert [items for items, _ in points] == [1, 2, 4, 8]
    assert all(seconds >= 0 for _, seconds in points)


def test_what_takes_too_long_is_timed_once_with_one_item():
    sizes = []
    assert len(measured(sizes.append, 8, 0.0)) == 1
    assert sizes == [1]


def test_sizes_that_fail_are_left_out():
    def call(items: int) -> None:
        if items > 2:
            raise MemoryError

    assert [items for items, _ in measured(call, 8, 60.0)] == [1, 2]


def test_one_item_must_be_possible():
    def call(items: int) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        measured(call, 8, 60.0)


def test_calls_too_short_for_the_clock_are_no_division_by_nothing():
    cost = CallCost(((1, 0.0), (2, 0.0)))
    cost.observe(2, 0.2)
    assert cost.line == pytest.approx((0.0, 0.1))

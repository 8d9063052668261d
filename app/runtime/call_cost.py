"""What a call of a model costs: seconds = per_call + per_item x items.

The line is drawn through a short measurement when an engine is loaded, and moved by the calls since: crops of
photos take longer than the plain images of a warm-up, and captions than single words.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Measured = tuple[tuple[int, float], ...]
"""Numbers of items, and the seconds of a call with so many."""

# A call gives this share of the items a second that an endless one would give: more gains little, and the
# first of its items wait for the last.
_ENOUGH = 0.95
# The weight of a call fades to a half in about seventy further ones.
_FADING = 0.99
# Seconds of a call below which nothing is gained by dividing it or putting it together.
_SHORTEST = 1e-3
# The line has a slope of its own once calls of different sizes weigh as much as so many.
_CALLS_FOR_A_SLOPE = 8.0


def measured(call: Callable[[int], object], most: int, seconds: float) -> Measured:
    """Time calls with 1, 2, 4 ... items, as far as they fit into about so many seconds.

    Args:
        call: is called with a number of items, twice with each: what else the machine does only adds time.
        most: items at once. Fewer are timed where a call with more fails.
        seconds: sizes that would take longer together are left out; a single item is timed however long it
            takes.

    Raises:
        Exception: what a call with one item raised.
    """
    points: list[tuple[int, float]] = []
    left, items = seconds, 1
    while items <= most and (not points or 4 * points[-1][1] <= left):
        try:
            took = [_timed(call, items)]
            if took[0] < left:
                took.append(_timed(call, items))
        except Exception:
            # One item is what it must be able to do; of several that are too many the memory tells, say.
            if not points:
                raise
            break
        points.append((items, min(took)))
        left -= sum(took)
        items *= 2
    return tuple(points)


@dataclass(slots=True)
class CallCost:
    """The cost of a call, as known by now. Used from the event loop's thread only."""

    warm_up: Measured = ()
    side_by_side: bool = True
    """Whether lanes compute such calls at the same time, and not in turns on one device."""
    _weight: float = field(default=0.0, init=False)
    _items: float = field(default=0.0, init=False)
    _seconds: float = field(default=0.0, init=False)
    _items_squared: float = field(default=0.0, init=False)
    _items_by_seconds: float = field(default=0.0, init=False)

    def observe(self, items: int, seconds: float) -> None:
        """Note a call that succeeded."""
        self._weight = _FADING * self._weight + 1
        self._items = _FADING * self._items + items
        self._seconds = _FADING * self._seconds + seconds
        self._items_squared = _FADING * self._items_squared + items * items
        self._items_by_seconds = _FADING * self._items_by_seconds + items * seconds

    @property
    def is_known(self) -> bool:
        """Whether it is known, and long enough for its share to matter."""
        return self.seconds(1) >= _SHORTEST

    @property
    def line(self) -> tuple[float, float]:
        """Seconds per call and per item; zeros where nothing is known.

        The calls since the warm-up say how much it is, and where they had different sizes also how it is
        divided between the two; else the warm-up says that.
        """
        if not self._weight:
            return _line(self.warm_up)
        items, seconds = self._items / self._weight, self._seconds / self._weight
        if self._has_slope:
            together = self._items_by_seconds / self._weight - items * seconds
            return _through(items, seconds, together / self._spread)
        per_call, per_item = _line(self.warm_up) if len(self.warm_up) > 1 else (0.0, 1.0)
        if per_call + per_item == 0:
            # Too short for the clock.
            per_item = 1.0
        scale = seconds / (per_call + per_item * items)
        return scale * per_call, scale * per_item

    def seconds(self, items: int) -> float:
        """Of a call with so many items; 0 where nothing is known."""
        per_call, per_item = self.line
        return per_call + per_item * items if items else 0.0

    def best(self, most: int) -> int:
        """The number of items beyond which a call gains little; `most` where that is not known."""
        # Under load the times of calls spread so far that they may seem to gain nothing. Too many at once
        # cost little, too few much: what either line gives is tried.
        lines = [self.line] if self._has_slope else []
        lines += [_line(self.warm_up)] if len(self.warm_up) > 1 else []
        if not self.is_known or not lines or any(per_item <= 0 for _, per_item in lines):
            return most
        enough = max(_ENOUGH / (1 - _ENOUGH) * per_call / per_item for per_call, per_item in lines)
        # Calls with one and with two go on to tell whether more would gain.
        return min(most, max(2, round(min(enough, most))))

    def within(self, seconds: float, most: int) -> int:
        """How many items take about so long, at least one; `most` where further ones take no time."""
        per_call, per_item = self.line
        return min(most, max(1, round((seconds - per_call) / per_item))) if per_item > 0 else most

    @property
    def _spread(self) -> float:
        items = self._items / self._weight
        return self._items_squared / self._weight - items * items

    @property
    def _has_slope(self) -> bool:
        return self._weight > 0 and self._spread * self._weight >= _CALLS_FOR_A_SLOPE


def _timed(call: Callable[[int], object], items: int) -> float:
    started = time.perf_counter()
    call(items)
    return time.perf_counter() - started


def _line(points: Measured) -> tuple[float, float]:
    if not points:
        return 0.0, 0.0
    (items, seconds), (most, longest) = points[0], points[-1]
    return _through(most, longest, (longest - seconds) / (most - items) if most > items else longest / most)


def _through(items: float, seconds: float, slope: float) -> tuple[float, float]:
    """Seconds per call and per item of the line through a point; neither below zero."""
    per_item = min(max(slope, 0.0), seconds / items)
    return max(0.0, seconds - per_item * items), per_item

"""Pages of items with their vectors: as many as an answer can hold."""

from collections.abc import Sequence
from itertools import accumulate

from app.index.storage import ItemSummary


def fitting(
    summaries: Sequence[ItemSummary], dimensions: int | None, limit: int, numbers: int
) -> Sequence[ItemSummary]:
    """The first items that make a page.

    Args:
        summaries: the items that come next.
        dimensions: of their vectors.
        limit: how many items there are at most.
        numbers: how many numbers their vectors have at most together; the first item comes in any case.
    """
    totals = accumulate(summary.regions * (dimensions or 0) for summary in summaries)
    count = sum(total <= numbers for total in totals)
    return summaries[: min(limit, max(count, 1))]

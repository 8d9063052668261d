"""When a request is sent again, and after how long. Every one may be: none does more the second time."""

from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from app.client.errors import ServerFull, Unreachable

# Seconds before the second attempt; before each further one twice as many.
FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0


def policy(retries: int) -> dict[str, Any]:
    """The arguments of tenacity's loops, blocking or not.

    Args:
        retries: attempts after the first one.
    """
    return {
        "stop": stop_after_attempt(retries + 1),
        "retry": retry_if_exception(_may_mend),
        "wait": _wait,
        "reraise": True,
    }


def _may_mend(error: BaseException) -> bool:
    return isinstance(error, ServerFull) or (isinstance(error, Unreachable) and error.may_mend)


def _wait(state: RetryCallState) -> float:
    longer = wait_exponential(FIRST_WAIT, max=_LONGEST_WAIT)(state)
    error = state.outcome.exception() if state.outcome is not None else None
    told = error.retry_after if isinstance(error, ServerFull) else 0.0
    # Those that were turned away together do not come back together.
    return max(longer, told) + wait_random(0, FIRST_WAIT)(state)

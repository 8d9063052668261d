"""What goes wrong between a client and a server. The text of each is what its user should read."""

from typing import TYPE_CHECKING, Any

from app.core.errors import SightgraphError

if TYPE_CHECKING:
    from app.client.results import TaskResult

__all__ = ["InvalidInput", "Refused", "ServerFull", "SightgraphError", "TaskFailed", "Unreachable"]


class InvalidInput(SightgraphError, ValueError):
    """What was given cannot be sent: an array of another kind, say. Nothing was."""


class Refused(SightgraphError):
    """The server refused a whole request; `message` tells why, and `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.message)


class ServerFull(Refused):
    """The server has as much to do as it takes, or this client has asked often enough.

    It was waited for already, as often as the client was told. `retry_after` is how many seconds the server
    would wait.
    """

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(status, message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.message, self.retry_after)


class Unreachable(SightgraphError):
    """No whole answer came. `may_mend` says whether asking again soon may help."""

    def __init__(self, message: str, *, may_mend: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.may_mend = may_mend


class TaskFailed(SightgraphError):
    """A task that was required has no result. `result` tells why."""

    def __init__(self, result: "TaskResult") -> None:
        super().__init__(f"{result.id}: {result.error_message}")
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result,)

"""What the Hugging Face hub and its library say when they fail, as sentences with a remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.engines.transfer import Refused, TransferFailed
from app.engines.weights import Hub


@contextmanager
def told_to_people(weights: Hub) -> Iterator[None]:
    """Turn the errors of huggingface_hub and of the connection into `TransferFailed`.

    Raises:
        TransferFailed: what happened, as a sentence.
        OSError: the disk failed, and not the hub.
    """
    from httpx2 import HTTPError

    try:
        yield
    except (HTTPError, Refused, OSError) as error:
        sentence = _sentence(error, weights)
        if sentence is None:
            raise
        raise TransferFailed(sentence) from error


def _sentence(error: BaseException, weights: Hub) -> str | None:
    from httpx2 import HTTPError
    from huggingface_hub import constants, errors

    match error:
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set, so the hub is not asked."
        case errors.RepositoryNotFoundError() if not isinstance(error, errors.GatedRepoError):
            return (
                f"The hub has no repository {weights.repository}, or shows it only to some accounts: "
                "then set HF_TOKEN to a token of one of them."
            )
        case errors.RevisionNotFoundError():
            return f"The repository has no revision {weights.revision}."
        case errors.RemoteEntryNotFoundError():
            return "The hub lists a file that it does not have."
        case errors.LocalEntryNotFoundError(__cause__=errors.HfHubHTTPError() as cause):
            return _sentence(cause, weights)
        case errors.HfHubHTTPError(response=answer) if answer.status_code not in (401, 403):
            return f"The hub answered {answer.status_code}."
        case Refused(status=status) if status not in (401, 403):
            return f"The server of large files answered {status}."
        case errors.HfHubHTTPError() | Refused():
            return (
                f"Access is gated: ask for it at {constants.ENDPOINT}/{weights.repository}, and set HF_TOKEN "
                "to a token of the account that was let in."
            )
        case errors.LocalEntryNotFoundError() | HTTPError():
            return "The hub cannot be reached. Check the network and its settings (HTTPS_PROXY, HF_ENDPOINT)."
    return None

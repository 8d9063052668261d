"""Images that are named by a text: which of them are behind a URL."""


def is_url(image: str) -> bool:
    """Whether an image is given by its URL, and not by its path."""
    return image.lower().startswith(("http://", "https://"))

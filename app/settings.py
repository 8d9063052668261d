"""Settings, read once from the environment (prefix SIGHTGRAPH_) when the server is put together."""

import os
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """Every setting. A value that does not fit stops the start-up with a message that names it."""

    model_config = SettingsConfigDict(env_prefix="SIGHTGRAPH_", frozen=True, use_attribute_docstrings=True)

    lanes: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=_available_cores)
    """How many computations run at once, each on one thread. The number of cores by default."""

    cache_bytes: Annotated[int, Field(ge=0)] = 256_000_000
    """The size of the result cache across requests; 0 keeps nothing."""

    request_timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a request is answered with what is finished."""

    max_requests: Annotated[int, Field(ge=1)] = 64
    """Requests that are worked on at once; one more is told to come back (503)."""

    max_image_bytes: Annotated[int, Field(ge=1)] = 25_000_000
    """The largest image file, uploaded or downloaded."""

    max_pixels: Annotated[int, Field(ge=1)] = 100_000_000
    """The largest image that is decoded."""

    max_pixels_at_once: Annotated[int, Field(ge=1)] = 800_000_000
    """The pixels of all images that are worked on at once, three bytes each; one more image is told to
    come back (503)."""

    fetch_timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds for the whole download of an image URL."""

    allow_private_urls: bool = False
    """Whether image URLs may lead to private, loopback and other addresses that are not public."""

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts whose addresses need not be public, separated by commas; `*.example.org` names all below."""

    offline: bool = False
    """Whether to keep off the network for model weights."""

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(host.strip() for host in value.split(",") if host.strip())
        return value

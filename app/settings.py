"""Settings, read once from the environment (prefix SIGHTGRAPH_) when the server is put together."""

import os
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import AfterValidator, Field, FilePath, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_postgres(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    return url


OPERATIONS_OF_IMAGE_EMBED = (
    "detect_bounding_box",
    "embed_clip_vit_b_32",
    "embed_dino_v2",
    "embed_dino_v3",
    "embed_dino_v3_patch",
    "embed_auraface",
    "describe_image",
)


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

    data: Path = Field(default_factory=lambda: user_data_path("sightgraph", appauthor=False))
    """The folder of what the server keeps: the record of the weights and the index, and later the
    classifiers."""

    index_url: Annotated[SecretStr, AfterValidator(_is_postgres)] | None = None
    """The PostgreSQL database with pgvector that keeps the index, `postgresql://user:password@host/name`;
    without it the index lies in the data folder, and one process at a time may use it."""

    offline: bool = False
    """Whether to keep off the network for model weights."""

    pinned_weights: FilePath | None = None
    """The `weights.json` of another machine: exactly the commits and hashes that it records are taken."""

    pull: Annotated[tuple[str, ...], NoDecode] = OPERATIONS_OF_IMAGE_EMBED
    """Operations whose missing weights are downloaded in the background at the start, separated by commas;
    `none` downloads nothing."""

    engines: Annotated[dict[str, tuple[str, ...]], NoDecode] = Field(default_factory=dict)
    """Which engines may serve an operation or a stage, the most preferred first:
    `embed_dino_v2=dinov2-small; describe_image=blip-large,blip-base`."""

    preload: Annotated[tuple[str, ...], NoDecode] = ()
    """Operations whose models are loaded at the start, separated by commas, or `all`; the others load at
    their first request. Models that ship in packages are always loaded at the start."""

    memory_budget: Annotated[int, Field(ge=1)] | None = None
    """Bytes that loaded models may take together; beyond it those that were used longest ago are unloaded."""

    idle_unload: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which a model that nobody used is unloaded."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """Where models compute: `cpu`, `cuda` (also AMD's ROCm), `cuda:1`, `mps`; `auto` takes a GPU if there is
    one."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What models compute in. `auto` is bfloat16 on a GPU that has it, else float16, and float32 on a CPU."""

    weights: Literal["real", "random"] = "real"
    """`random` replaces all downloaded weights by seeded random ones of full size, for measurements; every
    result says so."""

    @field_validator("engines", mode="before")
    @classmethod
    def _preferences(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        preferences = {}
        for part in filter(None, map(str.strip, value.split(";"))):
            operation, separator, names = part.partition("=")
            engines = tuple(name.strip() for name in names.split(",") if name.strip())
            if not separator or not engines:
                raise ValueError(f"'{part}' is not of the form operation=engine,engine")
            preferences[operation.strip()] = engines
        return preferences

    @field_validator("allowed_hosts", "pull", "preload", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            names = tuple(name.strip() for name in value.split(",") if name.strip())
            return () if names == ("none",) else names
        return value

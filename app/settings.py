"""Settings, read once from the environment (prefix SIGHTGRAPH_) when the server is put together."""

import ipaddress
import math
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.access import ApiKey, Limit, parsed_keys


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _is_postgres(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    return url


# As browsers write it: no path, no last slash.
_ORIGIN = re.compile(r"https?://(\*\.)?(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")

OPERATIONS_OF_IMAGE_EMBED = (
    "detect_bounding_box",
    "embed_clip_vit_b_32",
    "embed_dino_v2",
    "embed_dino_v3",
    "embed_dino_v3_patch",
    "embed_auraface",
    "describe_image",
)


def _are_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"'{origin}' is no origin: a scheme, a host and a port if any, such as https://app.example.org"
            )
    return origins


def _are_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        if network != "*":
            # Its message names what does not fit.
            ipaddress.ip_network(network)
    # uvicorn takes it only where it stands alone.
    return ("*",) if "*" in networks else networks


class Settings(BaseSettings):
    """Every setting. A value that does not fit stops the start-up with a message that names it."""

    model_config = SettingsConfigDict(
        env_prefix="SIGHTGRAPH_",
        frozen=True,
        use_attribute_docstrings=True,
        # It may be a password or a key.
        hide_input_in_errors=True,
    )

    lanes: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=available_cores)
    """How many computations run at once. By default as many as there are cores; a server of one process
    measures when it starts whether fewer with several threads each are faster."""

    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """On how many threads each of them computes."""

    threads_alone: Annotated[int, Field(ge=1, le=256)] = 1
    """On how many threads a computation runs while no other one does. A server of one process measures when
    it starts how many are the fastest."""

    cache_bytes: Annotated[int, Field(ge=0)] = 256_000_000
    """The size of the result cache across requests; 0 keeps nothing."""

    request_timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a request is answered with what is finished."""

    lane_timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds after which a computation that has not ended is given up; its lane is replaced."""

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
    """The folder of what the server keeps: the record of the weights, the index and the classifiers."""

    index_url: Annotated[SecretStr, AfterValidator(_is_postgres)] | None = None
    """The PostgreSQL database with pgvector that keeps the index, `postgresql://user:password@host/name`;
    without it the index lies in the data folder, and one process at a time may use it."""

    watch_drift: bool = True
    """Whether the server notes brightness, size and probability of what classifiers are asked, to tell when
    they drift from what they were trained on. Nothing else of an image is kept."""

    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = ()
    """Who may use the server: entries `name:scopes:sha256` as `sightgraph keys new` prints them, separated by
    commas or white space. Without any there is no authentication."""

    rate_limit: Annotated[Limit, NoDecode] | None = None
    """How often each API key, or without keys each address, may ask: `120/minute`, and
    also second, hour and day. The health endpoints are not counted."""

    cors_origins: Annotated[tuple[str, ...], NoDecode, AfterValidator(_are_origins)] = ()
    """The origins whose web pages may use the server, separated by commas: `https://app.example.org`,
    `https://*.example.org`, or `*` for every one."""

    server_names: Annotated[tuple[str, ...], NoDecode] = ()
    """The host names by which the server may be asked, beside localhost and addresses, separated by commas;
    `*.example.org` names all below. Without them a server on loopback that has no keys answers to no other,
    and any other server to all."""

    playground: bool = True
    """Whether the server has pages for people, at `/`."""

    trusted_proxies: Annotated[tuple[str, ...], NoDecode, AfterValidator(_are_networks)] = (
        "127.0.0.1",
        "::1",
    )
    """The proxies whose word on a client's address is taken (X-Forwarded-For), as addresses or networks
    separated by commas; `none` trusts no proxy, `*` every one."""

    stop_within: Annotated[float, Field(ge=1)] = 20.0
    """Seconds for the requests in work when the server is told to stop; then they are answered with what is
    finished. The process ends at most one second later."""

    stop_delay: Annotated[float, Field(ge=0)] = 0.0
    """Of these, the seconds for which it still takes requests, while its readiness is already `stopping`: as
    long as a load balancer needs to look elsewhere."""

    log_format: Literal["text", "json"] = "text"
    """Whether a line of the log is for people, or a JSON object."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lowered)] = "info"
    """The least level that is logged. `debug` also shows the requests of health and metrics."""

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

    @field_validator("stop_delay")
    @classmethod
    def _leaves_time(cls, value: float, info: ValidationInfo) -> float:
        # A wrong one is told by itself.
        within = info.data.get("stop_within", math.inf)
        if value and value >= within:
            raise ValueError(f"must be less than SIGHTGRAPH_STOP_WITHIN, which is {within:g}")
        return value

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

    @field_validator("api_keys", mode="before")
    @classmethod
    def _keys(cls, value: object) -> object:
        return parsed_keys(value) if isinstance(value, str) else value

    @field_validator("rate_limit", mode="before")
    @classmethod
    def _limit(cls, value: object) -> object:
        return Limit.of(value) if isinstance(value, str) else value

    @field_validator(
        "allowed_hosts",
        "cors_origins",
        "server_names",
        "trusted_proxies",
        "pull",
        "preload",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            names = tuple(name.strip() for name in value.split(",") if name.strip())
            return () if names == ("none",) else names
        return value

"""What joblib compressed, unpacked within bounds."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

# A regression over 4096 values takes 35 kB.
MAX_BYTES = 16 * 2**20
_MAX_LZMA_BYTES = 128 * 2**20

_PICKLE = b"\x80"


class CompressionRefused(ValueError):
    """A file is no pickle that joblib may have compressed, or too large."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _lzma() -> _Decompressor:
    return lzma.LZMADecompressor(memlimit=_MAX_LZMA_BYTES)


# By the first bytes of a file, as joblib tells them apart.
_DECOMPRESSORS: Mapping[bytes, Callable[[], _Decompressor]] = {
    b"\x78": zlib.decompressobj,
    b"\x1f\x8b": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    b"BZ": bz2.BZ2Decompressor,
    b"\xfd7zXZ": _lzma,
    b"\x5d\x00": _lzma,
}


def unpacked(data: bytes) -> bytes:
    """The pickle in a file, which may be compressed.

    Raises:
        CompressionRefused: it begins as none, or is larger than any such model.
    """
    if len(data) > MAX_BYTES:
        raise CompressionRefused(f"it is larger than {MAX_BYTES:,} bytes")
    if data.startswith(_PICKLE):
        return data
    start = next((start for start in _DECOMPRESSORS if data.startswith(start)), None)
    if start is None:
        raise CompressionRefused(
            "it begins neither as a pickle nor as one that joblib compressed by zlib, gzip, bz2, xz or lzma"
        )
    decompressor = _DECOMPRESSORS[start]()
    try:
        pickle = decompressor.decompress(data, MAX_BYTES + 1)
    except (zlib.error, lzma.LZMAError, OSError) as error:
        raise CompressionRefused(f"it cannot be decompressed: {error}") from None
    if len(pickle) > MAX_BYTES:
        raise CompressionRefused(f"it is larger than {MAX_BYTES:,} bytes when it is decompressed")
    if not decompressor.eof:
        raise CompressionRefused("it ends before what it holds does")
    if decompressor.unused_data:
        raise CompressionRefused("it goes on after what it holds")
    return pickle

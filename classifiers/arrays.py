"""Plain arrays in an npz file: written the same way every time, and read without trust."""

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_MAX_ARRAYS = 4096
_DTYPES = (np.dtype("<f8"), np.dtype("<u8"))


class ArraysDamaged(ValueError):
    """A file holds no plain arrays."""


def pack(arrays: Arrays) -> bytes:
    """An npz file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of such a file.

    Nothing is allocated that the bytes do not hold: entries are stored and not compressed, together they are
    no larger than the file, and each is as long as its header says. Objects are never unpickled.

    Raises:
        ArraysDamaged: it is not such a file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_ARRAYS:
                raise ArraysDamaged(f"it has {len(entries)} entries, more than {_MAX_ARRAYS}")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ArraysDamaged("it is compressed, as no file that was written here is")
            if sum(entry.file_size for entry in entries) > len(data):
                raise ArraysDamaged("its entries claim more bytes than it has")
            arrays = {entry.filename.removesuffix(".npy"): _array(archive.read(entry)) for entry in entries}
    except ArraysDamaged:
        raise
    # zipfile and NumPy's parser raise a dozen kinds on hostile bytes.
    except Exception as error:
        raise ArraysDamaged(f"it cannot be read ({type(error).__name__}: {error})") from error
    if len(arrays) != len(entries):
        raise ArraysDamaged("two of its entries have one name")
    return arrays


def _array(entry: bytes) -> NDArray[Any]:
    stream = io.BytesIO(entry)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ArraysDamaged("an array is in a format that is not written here")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype not in _DTYPES or fortran:
        raise ArraysDamaged(f"an array of {dtype} is not among what is written here")
    if any(length < 0 for length in shape):
        raise ArraysDamaged("an array has a negative length")
    body = entry[stream.tell() :]
    if math.prod(shape) * dtype.itemsize != len(body):
        raise ArraysDamaged("an array is not as long as its header says")
    return np.frombuffer(body, dtype).reshape(shape)

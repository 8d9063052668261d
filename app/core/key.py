"""The one key: what makes two pieces of work the same.

A key is the digest of what a result depends on: the image, the operation and its version, the
canonical params, the engine and its weights, and the keys of the inputs. Equal keys are one node of a
plan, one computation in flight and one entry of the cache.
"""

import hashlib
import json

# 160 bits: no two pieces of work share a key by accident or by a client's design.
_DIGEST_BYTES = 20


def digest(*parts: object) -> str:
    """A hex digest of JSON-able parts; the same parts give the same digest in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()

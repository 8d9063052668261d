"""The garbage collector of a process that serves.

A full collection looks at every object that may be part of a cycle, and nothing is answered meanwhile. Models
and the libraries that make them are some 500,000 objects, which took 0.35 s every now and then. They stay for
as long as they are loaded: they are frozen, so that no collection looks at them before one is unloaded.

It is the whole process's: only who serves calls `serve_from_now_on`; elsewhere nothing is frozen.
"""

import gc

_serves = False


def serve_from_now_on() -> None:
    """Freeze what is here now, and from now on every model that is loaded."""
    global _serves
    _serves = True
    freeze_loaded()


def freeze_loaded() -> None:
    """To be called when a model was loaded."""
    if _serves:
        # What is garbage now would stay.
        gc.collect()
        gc.freeze()


def collect_unloaded() -> None:
    """To be called when nothing refers to a model any more; models hold cycles."""
    if _serves:
        gc.unfreeze()
    gc.collect()
    if _serves:
        gc.freeze()

"""Threads: the pool's lanes share the cores, so that a model itself computes on one thread.

Measured on two cores: two lanes of one thread give 1.5 to 1.8 times the items a second of one lane of two
threads.
"""


def one_thread_per_call() -> None:
    """Make torch and OpenCV compute on the thread that calls them."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)

"""A network in the precision of its placement, between inputs and outputs in float32."""

from typing import TYPE_CHECKING, Any

from app.core.weights import Placement

if TYPE_CHECKING:
    import torch


def place(network: "torch.nn.Module", placement: Placement, in_half: "torch.nn.Module | None" = None) -> None:
    """Move a network to its device, ready to answer; nothing of it will learn.

    In half precision only the part `in_half` (all of it where none is named) computes in it. What goes in
    is cast, and what comes out is float32, so that the rest need not know: bfloat16 holds whole numbers
    up to 256, too few for the corners of boxes.
    """
    import torch

    network.eval().requires_grad_(False).to(placement.device)
    if placement.precision == "float32":
        return
    precision = getattr(torch, placement.precision)
    part = network if in_half is None else in_half
    part.to(precision)
    part.register_forward_pre_hook(lambda _, inputs: _cast(inputs, precision))
    part.register_forward_hook(lambda _, __, outputs: _cast(outputs, torch.float32))


def _cast(values: Any, precision: "torch.dtype") -> Any:
    """Every tensor of floats inside, cast."""
    import torch

    match values:
        case torch.Tensor():
            return values.to(precision) if values.is_floating_point() else values
        case dict():
            return {name: _cast(value, precision) for name, value in values.items()}
        case list() | tuple():
            return type(values)(_cast(value, precision) for value in values)
    return values

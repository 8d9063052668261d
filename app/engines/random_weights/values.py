"""Random values for networks, large enough that different images give different answers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def draw_weights(network: "torch.nn.Module", seed: int) -> None:
    """Draw every matrix, kernel and table anew, so that what goes through it keeps its size.

    Networks start with smaller values, through which little but the biases would come. Vectors (biases,
    scales of norms) stay as they are.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in network.parameters():
            if weights.ndim > 1:
                # A linear layer's inputs or a convolution's; of a table of positions its width.
                inputs = weights.shape[-1] if weights.ndim == 3 else weights[0].numel()
                weights.normal_(std=inputs**-0.5, generator=generator)

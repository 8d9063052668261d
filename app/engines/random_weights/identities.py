"""Random checkpoints of face embedders: a state dict for facenet-pytorch and an ONNX file like AuraFace's."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto

SEED = 20180402
PERSONS = 8631


def write_vggface2(folder: Path) -> None:
    """Write `20180402-114759-vggface2.pt`: the state dict of the embedder and of its 8,631-person classifier.

    The architecture has no small variant; the file takes 112 MB.
    """
    import torch
    from facenet_pytorch import InceptionResnetV1

    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(SEED)
        model = InceptionResnetV1(classify=True, num_classes=PERSONS)
        # Without statistics of its own the signal would die out, and every face get the same vector.
        for layer in model.modules():
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                layer.momentum = 1.0
        model(torch.randn(16, 3, 160, 160))
    torch.save(model.state_dict(), folder / "20180402-114759-vggface2.pt")


def write_auraface(folder: Path, *, tiny: bool = False) -> None:
    """Write `glintr100.onnx`: an IResNet of 100 layers that embeds 112x112 faces in 512 floats.

    Like a network that PyTorch exported for inference, it has the batch norms that follow a convolution
    folded into it, takes "data" [N, 3, 112, 112], and declares an output of one row.

    Args:
        folder: where to; it exists.
        tiny: one block instead of 3, 13, 30 and 3 in each stage, and a sixteenth of the channels.
    """
    import onnx

    blocks, narrowing = ((1, 1, 1, 1), 16) if tiny else ((3, 13, 30, 3), 1)
    onnx.save(IResNet(blocks, narrowing).model(), folder / "glintr100.onnx")


class IResNet:
    """The ONNX graph of insightface's `iresnet100` (recognition/arcface_torch/backbones/iresnet.py)."""

    def __init__(self, blocks: tuple[int, int, int, int], narrowing: int) -> None:
        from onnx import NodeProto, TensorProto

        self._random = np.random.default_rng(SEED)
        self._nodes: list[NodeProto] = []
        self._values: list[TensorProto] = []
        channels = 64 // narrowing
        x = self._prelu(self._conv("data", 3, channels, kernel=3), channels)
        for stage, count in enumerate(blocks):
            out = (64 << stage) // narrowing
            for number in range(count):
                x = self._block(x, channels, out, stride=1 if number else 2)
                channels = out
        x = self._add("Flatten", [self._norm(x, channels)], axis=1)
        x = self._add("Gemm", [x, self._weights(512, channels * 7 * 7), self._zeros(512)], transB=1)
        self._output = self._norm(x, 512)

    def model(self) -> "ModelProto":
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "glintr100",
            [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, 112, 112])],
            [helper.make_tensor_value_info(self._output, TensorProto.FLOAT, [1, 512])],
            self._values,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)

    def _block(self, x: str, channels: int, out: int, stride: int) -> str:
        """Norm, convolution, PReLU, convolution; the input is added, convolved where it has to shrink."""
        y = self._prelu(self._conv(self._norm(x, channels), channels, out, kernel=3), out)
        y = self._conv(y, out, out, kernel=3, stride=stride)
        shortcut = self._conv(x, channels, out, kernel=1, stride=stride) if stride > 1 else x
        return self._add("Add", [y, shortcut])

    def _conv(self, x: str, channels: int, out: int, *, kernel: int, stride: int = 1) -> str:
        return self._add(
            "Conv",
            [x, self._weights(out, channels, kernel, kernel), self._zeros(out)],
            kernel_shape=[kernel, kernel],
            pads=[kernel // 2] * 4,
            strides=[stride, stride],
        )

    def _prelu(self, x: str, channels: int) -> str:
        return self._add("PRelu", [x, self._value(np.full((channels, 1, 1), 0.25))])

    def _norm(self, x: str, channels: int) -> str:
        ones = [self._value(np.ones(channels)) for _ in ("scale", "variance")]
        shifts = [self._zeros(channels) for _ in ("bias", "mean")]
        return self._add("BatchNormalization", [x, ones[0], *shifts, ones[1]])

    def _weights(self, *shape: int) -> str:
        return self._value(self._random.normal(0, np.prod(shape[1:]) ** -0.5, shape))

    def _zeros(self, size: int) -> str:
        return self._value(np.zeros(size))

    def _value(self, values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> str:
        from onnx import numpy_helper

        name = f"weights.{len(self._values)}"
        self._values.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

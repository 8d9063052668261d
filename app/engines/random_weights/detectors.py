"""Object detectors with random values, in the layout of their repositories and files.

The sizes of D-FINE and RT-DETRv2 are those of transformers' conversion scripts
(`convert_d_fine_original_pytorch_checkpoint_to_hf.py`, `convert_rt_detr_v2_weights_to_hf.py`).

Random networks see nothing: from layer to layer their signal fades, and all scores are alike. So batch
normalisation is set to what it meets on an image of blurred noise, and the last layers are enlarged until
images get boxes and scores of their own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.engines.coco import COCO_LABELS

if TYPE_CHECKING:
    import torch
    import transformers

    from app.engines.torchvision_detectors import Architecture

SEED = 20250101

# What one of transformers' configurations is built from: its own values and those of its backbone.
Sizes = tuple[dict[str, Any], dict[str, Any]]

D_FINE_NANO: Sizes = (
    {
        "num_feature_levels": 2,
        "encoder_ffn_dim": 512,
        "encode_proj_layers": [1],
        "d_model": 128,
        "encoder_hidden_dim": 128,
        "decoder_ffn_dim": 512,
        "encoder_in_channels": [512, 1024],
        "decoder_n_points": [6, 6],
        "decoder_in_channels": [128, 128],
        "feat_strides": [16, 32],
        "depth_mult": 0.5,
        "decoder_layers": 3,
        "hidden_expansion": 0.34,
    },
    {
        "out_indices": [3, 4],
        "hidden_sizes": [128, 256, 512, 1024],
        "stem_channels": [3, 16, 16],
        "stage_in_channels": [16, 64, 256, 512],
        "stage_mid_channels": [16, 32, 64, 128],
        "stage_out_channels": [64, 256, 512, 1024],
        "stage_num_blocks": [1, 1, 2, 1],
        "stage_numb_of_layers": [3, 3, 3, 3],
        "use_learnable_affine_block": True,
    },
)
D_FINE_SMALL: Sizes = (
    {
        "decoder_layers": 3,
        "hidden_expansion": 0.5,
        "depth_mult": 0.34,
        "decoder_n_points": [3, 6, 3],
        "encoder_in_channels": [256, 512, 1024],
    },
    {**D_FINE_NANO[1], "out_indices": [2, 3, 4]},
)
D_FINE_MEDIUM: Sizes = (
    {
        "decoder_layers": 4,
        "depth_mult": 0.67,
        "decoder_n_points": [3, 6, 3],
        "encoder_in_channels": [384, 768, 1536],
    },
    {
        "out_indices": [2, 3, 4],
        "hidden_sizes": [192, 384, 768, 1536],
        "stem_channels": [3, 24, 32],
        "stage_in_channels": [32, 96, 384, 768],
        "stage_mid_channels": [32, 64, 128, 256],
        "stage_out_channels": [96, 384, 768, 1536],
        "stage_num_blocks": [1, 1, 3, 1],
        "stage_numb_of_layers": [4, 4, 4, 4],
        "use_learnable_affine_block": True,
    },
)
RT_DETR_V2_R18: Sizes = (
    {"encoder_in_channels": [128, 256, 512], "hidden_expansion": 0.5, "decoder_layers": 3},
    {
        "out_indices": [2, 3, 4],
        "hidden_sizes": [64, 128, 256, 512],
        "depths": [2, 2, 2, 2],
        "layer_type": "basic",
    },
)
SIZES = {
    "d-fine-nano": D_FINE_NANO,
    "d-fine-small": D_FINE_SMALL,
    "d-fine-medium": D_FINE_MEDIUM,
    "rt-detr-v2-r18": RT_DETR_V2_R18,
}

_TINY = {
    "num_queries": 50,
    "d_model": 32,
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "decoder_layers": 2,
}
TINY_D_FINE: Sizes = (
    {
        **_TINY,
        "num_feature_levels": 2,
        "encode_proj_layers": [1],
        "encoder_in_channels": [32, 32],
        "decoder_n_points": [2, 2],
        "decoder_in_channels": [32, 32],
        "feat_strides": [16, 32],
        "depth_mult": 0.34,
        "hidden_expansion": 0.34,
    },
    {
        "out_indices": [3, 4],
        "hidden_sizes": [16, 16, 32, 32],
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 16, 16, 32],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [16, 16, 32, 32],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_numb_of_layers": [1, 1, 1, 1],
        "use_learnable_affine_block": True,
    },
)
TINY_RT_DETR: Sizes = (
    {
        **_TINY,
        "encoder_in_channels": [16, 32, 32],
        "decoder_n_points": 2,
        "decoder_in_channels": [32, 32, 32],
        "hidden_expansion": 0.5,
    },
    {
        "out_indices": [2, 3, 4],
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 32, 32],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
    },
)
TINY_SIDE = 160
# So few that each is found, among them those that tests look for.
TINY_LABELS = ("person", "cat", "cup", "chair")


def write_detr(folder: Path, name: str, *, tiny: bool = False) -> None:
    """Files like those of the hub's repository of the engine `name`; `tiny` ones take 0.5 MB."""
    import torch
    import transformers

    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    side = TINY_SIDE if tiny else 640
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        # Only batch normalisation that is not frozen takes in what it meets.
        learning = library.AutoModelForObjectDetection.from_config(_config(name, tiny, frozen=False))
        _meet_noise(learning, side)
        model = library.AutoModelForObjectDetection.from_config(_config(name, tiny, frozen=True))
        learned = learning.state_dict()
        model.load_state_dict({key: learned[key] for key in model.state_dict()})
        for layer in model.model.decoder.class_embed:
            layer.weight.mul_(3)
            layer.bias.fill_(-7)
        for layer in (*model.model.decoder.bbox_embed, model.model.enc_bbox_head):
            torch.nn.init.normal_(layer.layers[-1].weight, std=0.3)
    model.save_pretrained(folder)
    library.RTDetrImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)


def write_torchvision(folder: Path, architecture: "Architecture") -> None:
    """A file like that at the URL. torchvision's detectors have one size each: there are no tiny ones."""
    import torch
    from torchvision.models import detection

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        learning = getattr(detection, architecture.builder)(weights=None, weights_backbone=None)
        if hasattr(learning, "roi_heads"):
            _meet_noise(learning.backbone, 320)
        else:
            _meet_noise(learning, 320)
            for head, factor in ((learning.head.classification_head, 8), (learning.head.regression_head, 5)):
                for block in head.module_list:
                    block[-1].weight.mul_(factor)
        network = architecture.build()
        network.load_state_dict(learning.state_dict())
    torch.save(network.state_dict(), folder / architecture.file)


def _config(name: str, tiny: bool, *, frozen: bool) -> "transformers.PreTrainedConfig":
    from transformers import DFineConfig, HGNetV2Config, RTDetrResNetConfig, RTDetrV2Config

    labels = TINY_LABELS if tiny else COCO_LABELS
    common: dict[str, Any] = {"id2label": dict(enumerate(labels)), "freeze_backbone_batch_norms": frozen}
    if name.startswith("d-fine"):
        own, backbone = TINY_D_FINE if tiny else SIZES[name]
        return DFineConfig(backbone_config=HGNetV2Config(**backbone), **own, **common)
    own, backbone = TINY_RT_DETR if tiny else SIZES[name]
    return RTDetrV2Config(backbone_config=RTDetrResNetConfig(**backbone), **own, **common)


def _meet_noise(network: "torch.nn.Module", side: int) -> None:
    """Set every batch normalisation to the mean and the variance that blurred noise has there."""
    import torch

    network.eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
            module.momentum = 1.0
    network(torch.nn.functional.interpolate(torch.randn(2, 3, 32, 32), (side, side), mode="bilinear"))
    network.eval()

"""Descriptions and answers by a small chat model that sees images: SmolVLM.

Marafioti et al., "SmolVLM: Redefining small and efficient multimodal models", 2025 (arXiv:2504.05299), as the
transformers library runs it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from app.core.artifacts import Crop
from app.core.errors import InvalidParams
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import grey_crop
from app.engines.device import compute_on
from app.engines.pretrained import load_whole
from app.engines.random_weights.vision_language import write_smolvlm
from app.engines.text_generation import tokens_to_add
from app.engines.weights import Hub

# The request of the model card's example.
DESCRIBE = "Can you describe this image?"


class VisionLanguageModel:
    """Crops to descriptions and answers, by any chat model that transformers loads as image-text-to-text.

    Chat template, size of tiles and special tokens are those of the checkpoint.
    """

    def __init__(self, placement: Placement, tiles: int | None = None) -> None:
        """Load the folder of a hub repository.

        Args:
            placement: where it is.
            tiles: how many tiles the longer side of an image is scaled to, for models that cut images into
                tiles as Idefics3 does. None for as many as the checkpoint asks for.

        Raises:
            Exception: what transformers or safetensors raise on missing or damaged files.
            ValueError: the files lack a part of the model or the chat template.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        compute_on(placement.threads)
        self._model = load_whole(AutoModelForImageTextToText, placement.files, placement.precision).to(
            placement.device
        )
        self._processor = AutoProcessor.from_pretrained(placement.files, local_files_only=True)
        if not self._processor.chat_template:
            raise ValueError("the checkpoint has no chat template")
        self._image_options: dict[str, Any] = {}
        if tiles is not None:
            side = self._processor.image_processor.max_image_size["longest_edge"]
            self._image_options["size"] = {"longest_edge": tiles * side}
        self._positions: int = self._model.config.get_text_config().max_position_embeddings
        # Calls with other settings would change the tokenizer under the feet of other threads.
        self._inputs([grey_crop(1, 1)], DESCRIBE)

    def describe(
        self, crops: Sequence[Crop], *, max_length: int = 50, prompt: str = "", num_beams: int = 1
    ) -> list[str]:
        """See `app.engines.text_generation.Captioner`; the prompt is the instruction, `DESCRIBE` if empty."""
        return self._reply(crops, "prompt", prompt or DESCRIBE, max_length, num_beams)

    def answer(
        self, crops: Sequence[Crop], *, question: str, max_length: int = 50, num_beams: int = 1
    ) -> list[str]:
        """See `app.engines.text_generation.Answerer`."""
        return self._reply(crops, "question", question, max_length, num_beams)

    def warmup(self, items: int = 1) -> None:
        self.describe([grey_crop(64, 64)] * items, max_length=1)

    def _reply(
        self, crops: Sequence[Crop], field: str, text: str, max_length: int, num_beams: int
    ) -> list[str]:
        import torch

        if not crops:
            return []
        # They would be taken for an image, or for the end of what was said.
        reserved = next(
            (token for token in self._processor.tokenizer.all_special_tokens if token in text), None
        )
        if reserved is not None:
            raise InvalidParams(f"{field}: holds {reserved}, which this model reserves")
        inputs = self._inputs(crops, text).to(self._model.device, self._model.dtype)
        given = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs,
                max_new_tokens=tokens_to_add(max_length, taken=given, positions=self._positions, field=field),
                num_beams=num_beams,
                do_sample=False,
            )
        texts = self._processor.batch_decode(tokens[:, given:], skip_special_tokens=True)
        return [reply.strip() for reply in texts]

    def _inputs(self, crops: Sequence[Crop], text: str) -> Any:
        """What the model reads: a turn of the user, an image and `text`, for each crop.

        Images of different shapes have different numbers of tiles and so of tokens. The shorter turns are
        padded on the left, so that every answer follows its turn at once.
        """
        import PIL.Image

        content = [{"type": "image"}, {"type": "text", "text": text}]
        turn = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        # As Pillow images: of an array of 3x5 pixels the library cannot tell rows from channels.
        images = [[PIL.Image.fromarray(np.ascontiguousarray(crop.pixels))] for crop in crops]
        return self._processor(
            text=[turn] * len(crops),
            images=images,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            **self._image_options,
        )


SMOLVLM_256M = EngineSpec(
    name="smolvlm-256m",
    weights=Hub(
        "HuggingFaceTB/SmolVLM-256M-Instruct",
        (
            "chat_template.*",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "processor_config.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ),
        size_bytes=517_000_000,
        optional=("added_tokens.json",),
    ),
    licence="Apache-2.0",
    # The checkpoint asks for four tiles a side, 17 with the whole image beside them, which take more than
    # half a minute on two cores. Its model card says how to ask for fewer.
    load=partial(VisionLanguageModel, tiles=1),
    batch=2,
    limits="English; sees the image squeezed into a square of 512 px, so that small text is lost, and "
    "invents what it cannot make out.",
    input_size="512x512",
    cost_ms=3700,
    # The files are in half precision.
    memory_bytes=1_030_000_000,
    write_random=write_smolvlm,
)

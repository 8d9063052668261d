"""Captions and answers by BLIP.

Li et al., "BLIP: bootstrapping language-image pre-training for unified vision-language understanding and
generation", 2022 (arXiv:2201.12086). Salesforce's checkpoints, as transformers runs them.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from app.core.artifacts import Crop
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import grey_crop
from app.engines.device import compute_on
from app.engines.pretrained import load_whole
from app.engines.random_weights.blip import write_blip
from app.engines.text_generation import must_fit, tokens_to_add
from app.engines.weights import Hub


class _Blip:
    """The model with its processor: what captioner and answerer do alike."""

    def __init__(self, placement: Placement, model_class: Any) -> None:
        from transformers import BlipProcessor

        compute_on(placement.threads)
        self._model = load_whole(model_class, placement.files, placement.precision).to(placement.device)
        self._processor = BlipProcessor.from_pretrained(placement.files, local_files_only=True)
        text = self._model.config.text_config
        self._positions: int = text.max_position_embeddings

    def _pixel_values(self, crops: Sequence[Crop]) -> Any:
        """[n, 3, side, side]: each crop squeezed into the square that the checkpoint asks for."""
        import PIL.Image
        import torch

        # As Pillow images: of an array of 3x5 pixels the library cannot tell rows from channels.
        images = (PIL.Image.fromarray(np.ascontiguousarray(crop.pixels)) for crop in crops)
        # One by one: a batch of large images would be copied into one array at their full size.
        ready = [self._processor(images=image, return_tensors="pt").pixel_values for image in images]
        return torch.cat(ready).to(self._model.device, self._model.dtype)

    def _tokens(self, text: str, count: int) -> dict[str, Any]:
        """`input_ids` between [CLS] and [SEP] and `attention_mask`, both [count, tokens]."""
        inputs = self._processor(text=text, return_tensors="pt").to(self._model.device)
        # Copies, as the model writes into them.
        return {name: values.repeat(count, 1) for name, values in inputs.items()}

    def _texts(self, tokens: Any) -> list[str]:
        return [text.strip() for text in self._processor.batch_decode(tokens, skip_special_tokens=True)]


class BlipCaptioner(_Blip):
    """Crops to descriptions. With a prompt they begin with it, in lower case as the model writes."""

    def __init__(self, placement: Placement) -> None:
        from transformers import BlipForConditionalGeneration

        super().__init__(placement, BlipForConditionalGeneration)

    def describe(
        self, crops: Sequence[Crop], *, max_length: int = 50, prompt: str = "", num_beams: int = 1
    ) -> list[str]:
        """See `app.engines.text_generation.Captioner`."""
        import torch

        if not crops:
            return []
        inputs = self._tokens(prompt, len(crops))
        # The model drops the [SEP] behind the prompt, and writes on from there.
        taken = inputs["input_ids"].shape[1] - 1
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs,
                pixel_values=self._pixel_values(crops),
                max_new_tokens=tokens_to_add(
                    max_length, taken=taken, positions=self._positions, field="prompt"
                ),
                num_beams=num_beams,
                do_sample=False,
            )
        return self._texts(tokens)

    def warmup(self, items: int = 1) -> None:
        self.describe([grey_crop(64, 64)] * items, max_length=1)


class BlipAnswerer(_Blip):
    """Crops to answers, of a word or a few, to one question."""

    def __init__(self, placement: Placement) -> None:
        from transformers import BlipForQuestionAnswering

        super().__init__(placement, BlipForQuestionAnswering)

    def answer(
        self, crops: Sequence[Crop], *, question: str, max_length: int = 50, num_beams: int = 1
    ) -> list[str]:
        """See `app.engines.text_generation.Answerer`."""
        import torch

        if not crops:
            return []
        inputs = self._tokens(question, len(crops))
        must_fit(inputs["input_ids"].shape[1], positions=self._positions, field="question")
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs,
                pixel_values=self._pixel_values(crops),
                # The answer has places of its own.
                max_new_tokens=min(max_length, self._positions),
                num_beams=num_beams,
                do_sample=False,
            )
        return self._texts(tokens)

    def warmup(self, items: int = 1) -> None:
        self.answer([grey_crop(64, 64)] * items, question="what is this?", max_length=1)


_PROCESSOR_FILES = (
    "config.json",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
_LIMITS = (
    "English, one short sentence in lower case; sees the image squeezed into a square of 384 px, and reads "
    "hardly any text in it."
)

BLIP_BASE = EngineSpec(
    name="blip-base",
    weights=Hub(
        "Salesforce/blip-image-captioning-base",
        # This repository has no safetensors file.
        (*_PROCESSOR_FILES, "pytorch_model.bin"),
        size_bytes=991_000_000,
    ),
    licence="BSD-3-Clause",
    load=BlipCaptioner,
    batch=4,
    limits=_LIMITS,
    input_size="384x384",
    cost_ms=2200,
    write_random=partial(write_blip, kind="captioner-base"),
)

BLIP_LARGE = EngineSpec(
    name="blip-large",
    weights=Hub(
        "Salesforce/blip-image-captioning-large",
        (*_PROCESSOR_FILES, "model.safetensors"),
        size_bytes=1_880_000_000,
    ),
    licence="BSD-3-Clause",
    load=BlipCaptioner,
    batch=4,
    limits=_LIMITS,
    input_size="384x384",
    cost_ms=5500,
    write_random=partial(write_blip, kind="captioner-large"),
)

BLIP_VQA = EngineSpec(
    name="blip-vqa",
    weights=Hub(
        "Salesforce/blip-vqa-base",
        (*_PROCESSOR_FILES, "model.safetensors"),
        size_bytes=1_540_000_000,
    ),
    licence="BSD-3-Clause",
    load=BlipAnswerer,
    batch=4,
    limits="English, answers of a word or a few; sees the image squeezed into a square of 384 px, and always "
    "answers, also when the image does not show what the question is about.",
    input_size="384x384",
    cost_ms=1600,
    write_random=partial(write_blip, kind="answerer-base"),
)

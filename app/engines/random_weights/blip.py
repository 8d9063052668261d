"""Checkpoints of BLIP with random values, in the layout of Salesforce's repositories on the hub.

They hold as many values as the real ones: 247, 470 and 385 million for the base captioner, the large one and
the answerer. As there, the word embeddings are in the file twice, also as the head that chooses words.
"""

import json
from pathlib import Path
from typing import Any, Literal

from app.engines.random_weights.words import made_up_words

Kind = Literal["captioner-base", "captioner-large", "answerer-base"]

# Positions of BERT's uncased vocabulary, which BLIP uses. [DEC] and [ENC] stand behind its last word, in the
# model alone: the tokenizer does not know them.
PAD, UNK, CLS, SEP, MASK = 0, 100, 101, 102, 103
WORDS = 30522
TINY_WORDS = 510
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?!'-"


def write_blip(folder: Path, kind: Kind, *, tiny: bool = False) -> None:
    """Write configuration, weights, tokenizer and processor into `folder`.

    Args:
        folder: made where it is missing.
        kind: which of the repositories it looks like. The base captioner has `pytorch_model.bin`, the others
            `model.safetensors`.
        tiny: about 32 wide and two layers deep, with 510 words; its sentences are of different lengths.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import BlipForConditionalGeneration, BlipForQuestionAnswering

    folder.mkdir(parents=True, exist_ok=True)
    words = TINY_WORDS if tiny else WORDS
    model_class = BlipForQuestionAnswering if kind == "answerer-base" else BlipForConditionalGeneration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(_configuration(kind, words, tiny))
        if tiny:
            _widen(model)
    # Copies, as both formats hold tensors that are one in the model only once, and the real files hold both.
    state = {name: values.clone() for name, values in model.state_dict().items()}
    for name in [name for name in state if name.endswith("word_embeddings.weight")]:
        # A buffer that older versions of the library saved.
        positions = name.replace("word_embeddings.weight", "position_ids")
        state[positions] = torch.arange(512).expand(1, -1).clone()
    if kind == "captioner-base":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        # The conversion of these left out the second bias of the head.
        state.pop("text_decoder.cls.predictions.decoder.bias")
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = [model_class.__name__]
    model.config.save_pretrained(folder)
    _write_tokenizer(folder, words)
    _write_json(
        folder / "preprocessor_config.json",
        {
            "do_normalize": True,
            "do_resize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_processor_type": "BlipImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "processor_class": "BlipProcessor",
            "size": 64 if tiny else 384,
        },
    )


def _configuration(kind: Kind, words: int, tiny: bool) -> Any:
    from transformers import BlipConfig

    text = {
        "vocab_size": words + 2,
        "bos_token_id": words,
        "hidden_size": 32 if tiny else 768,
        "intermediate_size": 64 if tiny else 3072,
        "num_hidden_layers": 2 if tiny else 12,
        "num_attention_heads": 4 if tiny else 12,
    }
    width, depth, heads = (1024, 24, 16) if kind == "captioner-large" else (768, 12, 12)
    vision = {
        "hidden_size": width // 24 if tiny else width,
        "intermediate_size": 64 if tiny else 4 * width,
        "num_hidden_layers": 2 if tiny else depth,
        "num_attention_heads": 2 if tiny else heads,
        "image_size": 64 if tiny else 384,
        "initializer_range": 0.02,
    }
    return BlipConfig(text_config=text, vision_config=vision)


def _widen(model: Any) -> None:
    """Make the answers depend on the image and on the place in the sentence, and end.

    At the usual spread of random values so small a model says one word over and over, whatever it sees.
    """
    import torch

    for name, values in model.named_parameters():
        if values.ndim > 1:
            spread = 2.0 if "position" in name else 0.2 if "word_embeddings" in name else 0.4
            torch.nn.init.normal_(values, std=spread)
    head = model.text_decoder.cls.predictions
    with torch.no_grad():
        # The end has the same weight everywhere: it comes where no word has more.
        head.decoder.weight[SEP] = 0.0
        head.bias[SEP] = 2.9


def _write_tokenizer(folder: Path, words: int) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = _vocabulary(words)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    special = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    numbered = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbered, unk_token=special["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(list(special.values()))
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "do_basic_tokenize": True,
            "do_lower_case": True,
            "model_max_length": 512,
            "processor_class": "BlipProcessor",
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            "tokenizer_class": "BertTokenizer",
        },
    )


def _vocabulary(words: int) -> list[str]:
    """BERT's special words at their places, every letter, and made-up words of syllables."""
    named = {PAD: "[PAD]", UNK: "[UNK]", CLS: "[CLS]", SEP: "[SEP]", MASK: "[MASK]"}
    vocabulary = [named.get(number, f"[unused{number}]") for number in range(MASK + 1)]
    vocabulary += [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return vocabulary + made_up_words(words - len(vocabulary))


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")

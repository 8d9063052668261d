"""A checkpoint of SmolVLM with random values, in the layout of the real one on the hub.

That is HuggingFaceTB/SmolVLM-256M-Instruct: 256,484,928 values, in bfloat16.
"""

import json
from pathlib import Path
from typing import Any

from app.engines.random_weights.words import made_up_words

# SmolLM2's tokens, and those that SmolVLM adds to them: an image, and the place of a tile in it.
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
)
START, PAD = 1, 2
ADDED = (
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    "<fake_token_around_image>",
    "<image>",
    *(f"<|reserved_special_token_{number}|>" for number in range(88)),
    "<end_of_utterance>",
)
WORDS = 49152
TINY_WORDS = 512
CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def write_smolvlm(folder: Path, *, tiny: bool = False) -> None:
    """Write configuration, weights, tokenizer, processor and chat template into `folder`.

    Args:
        folder: made where it is missing.
        tiny: 32 wide and two layers deep, with 512 words and tiles of 64 px; its answers are of different
            lengths.
    """
    import torch
    from transformers import Idefics3ForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    words = TINY_WORDS if tiny else WORDS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = Idefics3ForConditionalGeneration(_configuration(words, tiny))
        if tiny:
            _widen(model, words)
    model.generation_config.update(
        bos_token_id=START, eos_token_id=words + ADDED.index("<end_of_utterance>"), pad_token_id=PAD
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    _write_tokenizer(folder, words)
    side = 64 if tiny else 512
    _write_json(
        folder / "preprocessor_config.json",
        {
            "do_convert_rgb": True,
            "do_image_splitting": True,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "Idefics3ImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "max_image_size": {"longest_edge": side},
            "processor_class": "Idefics3Processor",
            "resample": 1,
            "rescale_factor": 0.00392156862745098,
            "size": {"longest_edge": 4 * side},
        },
    )
    tokens = (side // (8 if tiny else 16)) ** 2 // 4**2
    _write_json(
        folder / "processor_config.json", {"image_seq_len": tokens, "processor_class": "Idefics3Processor"}
    )
    _write_json(folder / "chat_template.json", {"chat_template": CHAT_TEMPLATE})


def _configuration(words: int, tiny: bool) -> Any:
    from transformers import Idefics3Config

    text = {
        "model_type": "llama",
        "vocab_size": words + len(ADDED),
        "hidden_size": 32 if tiny else 576,
        "intermediate_size": 64 if tiny else 1536,
        "num_hidden_layers": 2 if tiny else 30,
        "num_attention_heads": 4 if tiny else 9,
        "num_key_value_heads": 2 if tiny else 3,
        "head_dim": 8 if tiny else 64,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100_000,
        "bos_token_id": START,
        "eos_token_id": PAD,
        "pad_token_id": PAD,
        "tie_word_embeddings": False,
    }
    vision = {
        "hidden_size": 32 if tiny else 768,
        "intermediate_size": 64 if tiny else 3072,
        "num_hidden_layers": 2 if tiny else 12,
        "num_attention_heads": 4 if tiny else 12,
        "image_size": 64 if tiny else 512,
        "patch_size": 8 if tiny else 16,
    }
    return Idefics3Config(
        text_config=text,
        vision_config=vision,
        scale_factor=4,
        image_token_id=words + ADDED.index("<image>"),
        tie_word_embeddings=False,
    )


def _widen(model: Any, words: int) -> None:
    """Make the answers depend on the image, hold words only, and end.

    At the usual spread of random values so small a model says one word over and over, whatever it sees.
    """
    import torch

    for values in model.parameters():
        if values.ndim > 1:
            torch.nn.init.normal_(values, std=0.3)
    with torch.no_grad():
        head = model.lm_head.weight
        head[words:-1] = 0.0
        head[: len(SPECIAL)] = 0.0
        head[-1] *= 1.5


def _write_tokenizer(folder: Path, words: int) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # The byte-level alphabet writes the blank before a word as this letter.
    made_up = [f"Ġ{word}" for word in made_up_words(words - len(SPECIAL) - len(letters))]
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *letters, *made_up])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in (*SPECIAL, *ADDED)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "added_tokens.json", {token: words + place for place, token in enumerate(ADDED)})
    special = {
        "additional_special_tokens": ["<fake_token_around_image>", "<image>", "<end_of_utterance>"],
        "bos_token": "<|im_start|>",
        "eos_token": "<end_of_utterance>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
    }
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 8192,
            "processor_class": "Idefics3Processor",
            "tokenizer_class": "GPT2Tokenizer",
            "truncation_side": "left",
            "vocab_size": words,
        },
    )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")

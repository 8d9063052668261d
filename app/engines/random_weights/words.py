"""Words for tokenizers, where the real vocabularies are not at hand."""


def made_up_words(count: int) -> list[str]:
    """`count` different words: `babe`, `babi`, ..., of two syllables, then of three."""
    syllables = [consonant + vowel for consonant in "bdfghjklmnprstvwz" for vowel in "aeiou"]
    words = [first + second for first in syllables for second in syllables]
    words += [first + word for first in syllables for word in words]
    return words[:count]

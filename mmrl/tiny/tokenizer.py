"""The byte-level tokenizer of the tiny models: 256 bytes, the special tokens of the families, and
merges for the words of the synthetic tasks.

`python -m mmrl.tiny.tokenizer` trains it again from the word list below and writes tokenizer.json
beside this file.
"""

from __future__ import annotations

from pathlib import Path

TOKENIZER_FILE = Path(__file__).with_name("tokenizer.json")

MEDIA_TOKENS = {
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "audio_token": "<|AUDIO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
SAME_TOKENS = {
    "vision_start_token": MEDIA_TOKENS["vision_bos_token"],
    "vision_end_token": MEDIA_TOKENS["vision_eos_token"],
}
"""By the names under which the processor of Qwen3-VL knows them."""
PAD, END, START = "<|pad|>", "<|im_end|>", "<|im_start|>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

WORDS = """
what which where how many is are the it a an in of and then or first last before after order
colour shape count box find picture image video sound clip tile tiles piece rotation rotated turned
degrees
red green blue yellow purple orange white black cyan pink grey brown
circle square triangle star cross diamond shapes object objects arrow
left right up down moves moving moved direction way does go goes
pitch tone tones high low middle note notes heard hear see flash flashes flashed colours
one two three four five six number answer think puzzle position top bottom permutation
user assistant system
angle by came column drawn each here i jigsaw locate motion move much name none original places
question row undo was
"""


def train_tokenizer():
    """Train the tokenizer on the word list; the same list gives the same file."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, START, END, *MEDIA_TOKENS.values()]
    words = WORDS.split()
    corpus = [
        form
        for word in words
        for form in (f" {word}", word, f" {word.capitalize()}", word.capitalize())
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return tokenizer


def load_tokenizer():
    """The committed tokenizer as transformers sees it, with the attributes that the processors
    read.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(TOKENIZER_FILE),
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=MEDIA_TOKENS | SAME_TOKENS,
        padding_side="left",
    )


if __name__ == "__main__":
    train_tokenizer().save(str(TOKENIZER_FILE))

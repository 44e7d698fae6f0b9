"""How many class prompts of VOC and COCO get wrong token positions if positions are counted in words.

    python -m scripts.benchmarks.miscounted_words bpe_simple_vocab_16e6.txt.gz

The file is CLIP's list of merges (github.com/openai/CLIP; tests/data/clip_bpe has it). For all single classes and all
ordered pairs, counted positions are compared with those of the tokenizer's own tokens. There are two rules:

- "words": each word between spaces is one token, and a class has as many tokens as words.
- "list": the same, with a list of multi-word names that lacks "hot dog", "teddy bear" and "hair drier":
  a class that is not in the list has only its first word.
"""

import argparse
from collections.abc import Sequence
from itertools import permutations

from dataset_diffusion.prompts.tokens import class_prompt
from dataset_diffusion.vocabulary import load_vocabulary
from scripts.clip_vocabulary import clip_tokenizer

MISSING_COMPOUNDS = ("hot dog", "teddy bear", "hair drier")

Spans = tuple[tuple[int, ...], ...]


def main() -> None:
    """Count for each vocabulary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bpe", help="CLIP's bpe_simple_vocab_16e6.txt.gz")
    tokenizer = clip_tokenizer(parser.parse_args().bpe)
    for name in ("voc", "coco"):
        words = [entry.word for entry in load_vocabulary(name).classes]
        for kind, prompts in (("alone", [(word,) for word in words]), ("pairs", list(permutations(words, 2)))):
            wrong = {"words": 0, "list": 0}
            for chosen in prompts:
                spans = class_prompt(tokenizer, chosen).spans
                wrong["words"] += spans != counted_spans(chosen)
                wrong["list"] += spans != counted_spans(chosen, MISSING_COMPOUNDS)
            total = len(prompts)
            shares = ", ".join(f"{rule} {count} ({100 * count / total:.1f}%)" for rule, count in wrong.items())
            print(f"{name} {kind}: {total} class prompts, of which wrong when words are counted: {shares}")
        split = [word for word in words if class_prompt(tokenizer, [word]).spans != counted_spans([word])]
        print(f"{name}: words of more than one token: {', '.join(split)}")


def counted_spans(words: Sequence[str], first_word_only: Sequence[str] = ()) -> Spans:
    """The positions of each class by counting words; position 0 is the start token."""
    spans, position = [], 1
    for word in words:
        length = len(word.split())
        spans.append(tuple(range(position, position + (1 if word in first_word_only else length))))
        position += length
    return tuple(spans)


if __name__ == "__main__":
    main()

"""Turns a language model's answer into a caption, and says what is wrong with it."""

import re

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_MARK = re.compile(r"^(?:[-*•]\s+|\d{1,2}[.)]\s+|#+\s*)")
_LABEL = re.compile(
    r"^\**(?:(?:the|a|my|new|final|photo(?:graph)?|image|one|revised)\s+)*(?:caption|answer|description)\**\s*:\s*",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(r"^(?:sure|certainly|of course|here(?:'s| is)|okay|ok)\b[^\n]*?[:!.]\s*(?=\n|$)", re.IGNORECASE)
_QUOTES = "\"'“”‘’«»`*_ \t"
_REFUSAL = re.compile(
    r"\b(?:i'm|i am|i cannot|i can't|as an ai|sorry|unable to|i don't|i do not|let me|i hope)\b", re.IGNORECASE
)
_COMMENT = re.compile(
    r"\b(?:caption|the user|this sentence|word count|in this (?:image|photo)|the (?:image|photo) (?:shows|depicts))\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?…](?=\s+\S)")
_ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|st|no|vs)\.(?=\s)", re.IGNORECASE)
_ODD = re.compile(r"[\[\]{}<>|\\#*@^~=;:/_\"“”`]|https?")
MIN_WORDS = 3
MAX_WORDS = 45


def clean_answer(answer: str) -> str:
    """The caption in an answer: without thoughts, preamble, label, list marker, quotation marks and final full stop.

    If several lines are left, they are kept, and caption_fault rejects them.
    """
    text = _THOUGHTS.sub("", answer.replace("’", "'")).strip()
    text = re.sub(r"^```\w*\s*|\s*```$", "", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and (_PREAMBLE.match(lines[0]) or lines[0].endswith(":")):
        lines = lines[1:]
    lines = [_LABEL.sub("", _MARK.sub("", line.strip(_QUOTES))).strip(_QUOTES) for line in lines]
    text = "\n".join(" ".join(line.split()) for line in lines if line)
    text = text[:-1].rstrip(_QUOTES) if text.endswith(".") and not text.endswith("..") else text
    return text.strip(_QUOTES)


def caption_fault(caption: str) -> str | None:
    """Why a text is not one plain English sentence, in words that a model can be told; None if it is one."""
    words = caption.split()
    if not words:
        return "it was empty"
    if "\n" in caption or _SENTENCE_END.search(_ABBREVIATION.sub("", caption)):
        return "it was more than one sentence"
    if len(words) < MIN_WORDS:
        return "it was too short"
    if len(words) > MAX_WORDS:
        return "it was too long"
    if _REFUSAL.search(caption) or _COMMENT.search(caption):
        return "it spoke about the task instead of what can be seen"
    if _ODD.search(caption):
        return "it had marks that a plain sentence has not"
    if caption.endswith(("?", "...", "…", ",", "-")) or (not caption[-1].isalnum() and caption[-1] not in "!')"):
        return "it was no finished statement"
    if any(ord(character) > 0x24F and character not in "–—" for character in caption):
        return "it was not in English letters"
    if any(words[i : i + 3] == words[i + 3 : i + 6] for i in range(len(words) - 5)) or _stutters(words):
        return "it repeated itself"
    return None


def _stutters(words: list[str]) -> bool:
    return any(len(set(words[start : start + 3])) == 1 for start in range(len(words) - 2))

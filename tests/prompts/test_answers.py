import pytest

from dataset_diffusion.prompts.answers import caption_fault, clean_answer

GOOD = "a brown dog sleeping on a grey sofa in a living room"


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        f"{GOOD}.",
        f"  {GOOD}\n",
        f'"{GOOD}."',
        f'"{GOOD}".',
        f"“{GOOD}”",
        f"'{GOOD}'",
        f"**{GOOD}**",
        f"Caption: {GOOD}",
        f"**Caption:** {GOOD}",
        f'Caption: "{GOOD}"',
        f"- {GOOD}",
        f"* {GOOD}",
        f"1. {GOOD}",
        f"1) {GOOD}.",
        f"Sure! Here is a caption for the photograph:\n\n{GOOD}",
        f'Here\'s the caption:\n"{GOOD}"',
        f"Certainly!\n{GOOD}",
        f"<think>\nThe user wants a caption. A dog; a sofa.\n</think>\n\n{GOOD}",
        f"```\n{GOOD}\n```",
        f"```text\n{GOOD}\n```",
        f"The caption: {GOOD}",
        f"New caption: {GOOD}",
        f"Photo caption:\n{GOOD}",
    ],
)
def test_text_around_a_caption_is_removed(answer: str) -> None:
    assert clean_answer(answer) == GOOD
    assert caption_fault(GOOD) is None


@pytest.mark.parametrize(
    "caption",
    [
        "two dogs and a man in a red jacket, seen from above",
        "a café with three chairs on a rainy day",
        "a man's dog next to a well-kept garden",
        "a sign of St. James street with a bus",
        "A white horse grazing in a field (seen from behind)",
        "a no-entry sign next to a parked car at 5 p.m",
    ],
)
def test_plain_sentences_are_accepted(caption: str) -> None:
    assert caption_fault(clean_answer(caption)) is None


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ('""', "empty"),
        ("<think>hm</think>", "empty"),
        ("dog", "too short"),
        ("dog, sofa", "too short"),
        (f"{GOOD}. The dog looks happy.", "more than one sentence"),
        (f"{GOOD}\na cat on a chair", "more than one sentence"),
        (f"1. {GOOD}\n2. a cat on a chair", "more than one sentence"),
        (f"{GOOD}\n\n(Note: I kept it short.)", "more than one sentence"),
        ("A dog! Look at it run along the beach", "more than one sentence"),
        ("I'm sorry, but I cannot see the photograph", "about the task"),
        ("I am unable to write this", "about the task"),
        ("As an AI language model I do not see images", "about the task"),
        ("The user wants a short text about a dog", "about the task"),
        ("This sentence has ten words and a dog in it", "about the task"),
        ("The image shows a dog on a sofa", "about the task"),
        ("Please let me know what you think of the dog", "about the task"),
        ("dog, sofa -> a dog on a sofa", "marks"),
        ("Place: a living room with a dog and a sofa", "marks"),
        ("a dog on a sofa #cute #dogsofinstagram", "marks"),
        ('{"text": "a dog on a sofa"}', "marks"),
        ("a [brown] dog on a sofa", "marks"),
        ("<caption>a dog on a sofa</caption>", ""),
        ("a dog on a sofa; style of a snapshot", "marks"),
        ("is this a dog on a sofa?", "no finished statement"),
        ("a dog lying on a sofa in front of...", "no finished statement"),
        ("a dog lying on a sofa,", "no finished statement"),
        ("一只狗躺在 沙发 上面 睡觉", "English letters"),
        ("собака лежит на диване", "English letters"),
        ("a happy dog 🐶 on a sofa at home", "English letters"),
        ("a dog dog dog dog on a sofa", "repeated itself"),
        ("a dog on a sofa on a sofa on a sofa", "repeated itself"),
        ("a dog and " + "a very " * 30 + "big sofa", ""),
        (" ".join(f"word{number}" for number in range(60)), "too long"),
    ],
)
def test_bad_answers_are_refused_with_a_reason(answer: str, fault: str) -> None:
    found = caption_fault(clean_answer(answer))
    assert found is not None, clean_answer(answer)
    assert fault in found

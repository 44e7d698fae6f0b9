import pytest

from dataset_diffusion.prompts.variety import measure_variety, variety_table


def test_figures_of_a_few_captions_equal_hand_counts() -> None:
    captions = ["A dog on a sofa", "a dog on a sofa", "a photo of a sofa with a dog", "two cats"]
    variety = measure_variety(captions, [(1, 2), (2, 1), (1, 2, 3), (3,)])
    assert (variety.num_captions, variety.num_distinct) == (4, 3)
    # The second and third captions have the same words as the first.
    assert variety.near_duplicates == pytest.approx(0.5)
    assert variety.mean_words == pytest.approx((5 + 5 + 8 + 2) / 4)
    pairs = {"a dog", "dog on", "on a", "a sofa", "a photo", "photo of", "of a", "sofa with", "with a", "two cats"}
    assert variety.num_bigrams == len(pairs)
    triples = {
        "a dog on",
        "dog on a",
        "on a sofa",
        "a photo of",
        "photo of a",
        "of a sofa",
        "a sofa with",
        "sofa with a",
    }
    assert variety.num_trigrams == len({*triples, "with a dog"})
    assert variety.num_pairs == 3


def test_two_plans_are_shown_side_by_side() -> None:
    table = variety_table({"this": measure_variety(["a dog"], [(1,)]), "other": measure_variety([], [])})
    assert table[0].split() == ["variety", "this", "other"]
    assert table[1].split() == ["captions", "1", "0"]

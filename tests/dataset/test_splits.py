from dataset_diffusion.dataset.splits import split_of

SHARES = {"train": 0.9, "val": 0.1}


def test_shares_are_respected_and_do_not_depend_on_their_order() -> None:
    captions = [f"a photo of {number} cats" for number in range(4000)]
    splits = [split_of(caption, SHARES) for caption in captions]
    assert abs(splits.count("val") / 4000 - 0.1) < 0.015  # Three standard deviations.
    assert splits == [split_of(caption, {"val": 0.1, "train": 0.9}) for caption in captions]


def test_equal_captions_are_in_one_split() -> None:
    for number in range(50):
        versions = (f"A cat, {number} dogs.", f"a  cat,\t{number} dogs ", f"a cat, {number} DOGS")
        assert len({split_of(version, SHARES) for version in versions}) == 1

from dataset_diffusion.prompts.seeds import named_rng, sample_seed


def test_seed_is_pinned() -> None:
    # sha256("0/000000") = 8d9b6f6706f6dbf1..., shifted by a bit. Another value here changes every dataset.
    assert sample_seed(0, "000000") == 0x8D9B6F6706F6DBF1 >> 1 == 5101935934513573368
    assert sample_seed(7, "2008_000002") == 0xBBA8B140B000BBA5 >> 1


def test_seeds_lie_in_range_and_differ() -> None:
    seeds = {sample_seed(run, f"{index:06d}") for run in range(10) for index in range(1000)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Spread over the whole range: about half in each half.
    assert 4500 < sum(seed >= 2**62 for seed in seeds) < 5500


def test_run_and_sample_are_kept_apart() -> None:
    assert sample_seed(1, "11") != sample_seed(11, "1")


def test_named_rngs_differ_from_each_other_and_repeat() -> None:
    assert named_rng(0, "a").random() == named_rng(0, "a").random()
    assert len({named_rng(0, "a").random(), named_rng(0, "b").random(), named_rng(1, "a").random()}) == 3

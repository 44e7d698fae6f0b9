import hashlib
from collections import Counter

import pytest

from dataset_diffusion.prompts.seeds import HashedRandom, named_rng, sample_seed


def test_seed_is_pinned() -> None:
    # sha256("0/000000") = 8d9b6f6706f6dbf1..., shifted by a bit. Another value here changes every dataset.
    assert sample_seed(0, "000000") == 0x8D9B6F6706F6DBF1 >> 1 == 5101935934513573368
    assert sample_seed(7, "2008_000002") == 0xBBA8B140B000BBA5 >> 1


def test_seeds_are_in_range_and_differ() -> None:
    seeds = {sample_seed(run, f"{index:06d}") for run in range(10) for index in range(1000)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Spread over the whole range: about half in each half.
    assert 4500 < sum(seed >= 2**62 for seed in seeds) < 5500


def test_run_seed_and_sample_id_are_not_confused() -> None:
    assert sample_seed(1, "11") != sample_seed(11, "1")


def test_named_rngs_differ_and_are_reproducible() -> None:
    assert named_rng(0, "a").random() == named_rng(0, "a").random()
    assert len({named_rng(0, "a").random(), named_rng(0, "b").random(), named_rng(1, "a").random()}) == 3


def begun(seed: int, purpose: str) -> HashedRandom:
    rng = HashedRandom()
    rng.begin(seed, purpose)
    return rng


def test_hashed_draws_come_from_the_hash() -> None:
    rng = begun(3, "caption/a")
    first = hashlib.blake2b(b"3/caption/a").digest()
    second = hashlib.blake2b(b"3/caption/a" + first).digest()
    words = [low + 256 * high for low, high in batched_pairs(first + second)]
    assert [rng.random() for _ in range(64)] == [word / 65536 for word in words]
    rng.begin(3, "caption/a")
    assert rng.getrandbits(24) == (words[0] << 16 | words[1]) >> 8
    assert rng.choice(range(1000)) == words[2] * 1000 // 65536


def test_hashed_draws_repeat_and_differ_by_seed_and_purpose() -> None:
    draws = [[begun(*name).random() for _ in range(5)] for name in ((0, "a"), (0, "a"), (0, "b"), (1, "a"))]
    assert draws[0] == draws[1]
    assert len(set(map(tuple, draws))) == 3


@pytest.mark.parametrize("draw", ["choice", "random", "sample", "randrange", "shuffle"])
def test_hashed_draws_are_uniform_and_independent(draw: str) -> None:
    draw_two = {
        "choice": lambda rng: (rng.choice("abc"), rng.choice("abc")),
        "random": lambda rng: (int(rng.random() * 3), int(rng.random() * 3)),
        "sample": lambda rng: tuple(rng.sample("abc", 2)),
        "randrange": lambda rng: (rng.randrange(3), rng.randrange(3)),
        "shuffle": lambda rng: shuffled(rng),
    }[draw]
    num, rng = 9000, HashedRandom()
    counts: Counter[tuple] = Counter()
    for index in range(num):
        rng.begin(0, f"{draw}/{index}")
        counts[draw_two(rng)] += 1
    kinds = 6 if draw in ("sample", "shuffle") else 9
    assert len(counts) == kinds
    expected = num / kinds
    # Pearson's statistic exceeds 30 once in 5,000 times at 8 degrees of freedom.
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 30


def shuffled(rng: HashedRandom) -> tuple[str, ...]:
    letters = ["a", "b", "c"]
    rng.shuffle(letters)
    return tuple(letters)


def batched_pairs(content: bytes) -> list[tuple[int, int]]:
    return list(zip(content[::2], content[1::2], strict=True))

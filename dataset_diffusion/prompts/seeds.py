"""Seeds that depend only on the run's seed and a name, so that order, shards and resuming change nothing."""

import hashlib
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
_words_of = struct.Struct("<32H").unpack


def sample_seed(global_seed: int, sample_id: str) -> int:
    """The seed of a sample's noise, in [0, 2**63): the first 63 bits of SHA-256 of "global_seed/sample_id"."""
    digest = hashlib.sha256(f"{global_seed}/{sample_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def next_seed(seed: int, sample_id: str, attempt: int) -> int:
    """The seed of a sample's `attempt`-th new image after the earlier ones failed; 0 is the sample's own seed."""
    return sample_seed(seed, f"{sample_id}/attempt/{attempt}") if attempt else seed


def named_rng(global_seed: int, purpose: str) -> random.Random:
    """A generator for one purpose ("caption/000001"). No sample id has a "/", so it shares no sample's seed."""
    return random.Random(sample_seed(global_seed, f"rng/{purpose}"))


class HashedRandom(random.Random):
    """A generator that restarts with each name, in a tenth of the time that seeding a random.Random takes.

    Its draws are 16-bit words: the BLAKE2b hash of the name, then the hash of the name and all earlier draws, and so
    on. A choice among n is uniform to within n / 65,536, which is enough for the words of captions.
    """

    _word: Callable[[], int]

    def begin(self, global_seed: int, purpose: str) -> None:
        """Restart with the sequence that belongs to this seed and purpose."""
        self._word = _hashed_words(f"{global_seed}/{purpose}".encode()).__next__

    def seed(self, *name: Any) -> None:
        """Like `begin`; random.Random calls it for a new generator, which has no name yet."""
        self.begin(0, "/".join(map(str, name)))

    def random(self) -> float:
        """A multiple of 1 / 65,536 in [0, 1)."""
        return self._word() / 65536

    def getrandbits(self, k: int, /) -> int:
        """A number of `k` random bits; methods that are not overridden here draw from it."""
        bits = 0
        for _ in range(-(-k // 16)):
            bits = bits << 16 | self._word()
        return bits >> -k % 16

    def choice(self, seq: Sequence[Item]) -> Item:  # type: ignore[override]
        """One of the items; there must be at least one, and far fewer than 65,536."""
        return seq[self._word() * len(seq) >> 16]

    def sample(self, population: Sequence[Item], k: int) -> list[Item]:  # type: ignore[override]
        """`k` of the items, each at most once, in any order."""
        pool = list(population)
        return [pool.pop(self._word() * len(pool) >> 16) for _ in range(k)]


def _hashed_words(name: bytes) -> Iterator[int]:
    state = hashlib.blake2b(name)
    while True:
        digest = state.digest()
        yield from _words_of(digest)
        state.update(digest)

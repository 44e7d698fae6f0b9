"""Seeds that depend on the run's seed and on a name, so that order, shards and resuming change nothing."""

import hashlib
import random


def sample_seed(global_seed: int, sample_id: str) -> int:
    """The seed of a sample's noise, in [0, 2**63): the first 63 bits of SHA-256 of "global_seed/sample_id"."""
    digest = hashlib.sha256(f"{global_seed}/{sample_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def next_seed(seed: int, sample_id: str, attempt: int) -> int:
    """The seed of a sample's `attempt`-th new image, where those before it failed; 0 is the sample's own seed."""
    return sample_seed(seed, f"{sample_id}/attempt/{attempt}") if attempt else seed


def named_rng(global_seed: int, purpose: str) -> random.Random:
    """A generator for one purpose ("caption/000001"). No sample id has a "/", so it shares no sample's seed."""
    return random.Random(sample_seed(global_seed, f"rng/{purpose}"))

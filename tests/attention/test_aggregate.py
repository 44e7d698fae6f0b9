import pytest
import torch

from dataset_diffusion.attention.aggregate import class_attention, class_evidence, exponentiate, map_size
from dataset_diffusion.tensors import resize
from dataset_diffusion.types import AttentionMaps


def random_maps(tokens: int, cross_size: tuple[int, int], self_size: tuple[int, int]) -> AttentionMaps:
    cross = torch.randn(tokens, *cross_size).softmax(dim=0)
    positions = self_size[0] * self_size[1]
    return AttentionMaps(cross, torch.randn(positions, positions).softmax(dim=1))


def test_class_attention_averages_the_tokens_of_each_class():
    cross = torch.arange(5.0).reshape(5, 1, 1).expand(5, 2, 3)
    attention = class_attention(cross, [(1,), (2, 3), (1, 4)])
    assert attention.shape == (3, 2, 3)
    assert attention[:, 0, 0].tolist() == [1.0, 2.5, 2.5]


def test_class_attention_without_classes_is_empty():
    assert class_attention(torch.rand(5, 2, 3), ()).shape == (0, 2, 3)


def test_power_zero_is_the_cross_attention_at_its_own_resolution():
    maps = random_maps(6, (4, 4), (8, 8))
    spans = [(1, 2), (3,)]
    assert torch.equal(class_evidence(maps, spans, power=0), class_attention(maps.cross, spans))


def test_identity_self_attention_only_resizes():
    maps = AttentionMaps(torch.rand(6, 4, 4), torch.eye(64))
    evidence = class_evidence(maps, [(1, 2)], power=3)
    assert torch.allclose(evidence, resize(class_attention(maps.cross, [(1, 2)]), (8, 8)))


def test_uniform_self_attention_gives_the_mean():
    class_maps = torch.rand(3, 64)
    spread = exponentiate(torch.full((64, 64), 1 / 64), class_maps, power=1)
    assert torch.allclose(spread, class_maps.mean(dim=1, keepdim=True).expand(3, 64))


@pytest.mark.parametrize("power", [0, 1, 2, 5])
def test_exponentiate_equals_the_power_of_the_matrix(power: int):
    matrix = torch.randn(30, 30, dtype=torch.float64).softmax(dim=1)
    class_maps = torch.rand(2, 30, dtype=torch.float64)
    expected = torch.linalg.matrix_power(matrix, power) @ class_maps.T
    assert torch.allclose(exponentiate(matrix, class_maps, power), expected.T)


def test_a_position_takes_the_evidence_of_the_positions_it_attends_to():
    # Row i is the attention of position i: position 0 attends to position 2 and so takes its value.
    matrix = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    assert exponentiate(matrix, torch.tensor([[1.0, 2.0, 4.0]]), power=1).tolist() == [[4.0, 2.0, 3.0]]


def test_both_maps_order_positions_alike():
    cross = torch.zeros(3, 4, 6)
    cross[1, 3, 1] = 1
    evidence = class_evidence(AttentionMaps(cross, torch.eye(24)), [(1,)], power=1)
    assert evidence.shape == (1, 4, 6)
    assert torch.equal(evidence[0], cross[1])


@pytest.mark.parametrize(("cross_size", "self_size"), [((16, 16), (32, 32)), ((4, 6), (8, 12)), ((5, 7), (9, 13))])
def test_evidence_has_the_resolution_of_the_self_attention(cross_size: tuple[int, int], self_size: tuple[int, int]):
    maps = random_maps(6, cross_size, self_size)
    assert class_evidence(maps, [(1,), (2, 3)], power=2).shape == (2, *self_size)


def test_evidence_without_classes_is_empty():
    assert class_evidence(random_maps(0, (4, 4), (0, 0)), (), power=4).shape == (0, 4, 4)


def test_resize_is_exact_at_the_same_size_and_keeps_constants():
    maps = torch.rand(2, 5, 7)
    assert torch.equal(resize(maps, (5, 7)), maps)
    assert torch.allclose(resize(torch.full((1, 4, 4), 0.3), (9, 11)), torch.full((1, 9, 11), 0.3))


def test_resize_is_bicubic():
    # The cubic kernel (Keys 1981) with torch's a = -0.75, a quarter of a cell from the two nearest samples.
    def kernel(x: float) -> float:
        a = -0.75
        return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4)

    row = torch.rand(8)
    expected = sum(kernel(abs(cell - 3.25)) * row[cell].item() for cell in (2, 3, 4, 5))
    resized = resize(row.expand(1, 8, 8), (16, 16))
    assert resized[0, 5, 7].item() == pytest.approx(expected, abs=1e-6)


def test_map_size_finds_the_factors():
    assert map_size(1024, aspect=1.0) == (32, 32)
    assert map_size(8 * 12, aspect=4 / 6) == (8, 12)
    assert map_size(12 * 8, aspect=6 / 4) == (12, 8)


def test_cross_attention_finer_than_the_self_attention_is_averaged_over_its_cells() -> None:
    cross = torch.rand(2, 8, 12)
    maps = AttentionMaps(cross, torch.eye(4 * 6))
    expected = cross.reshape(2, 4, 2, 6, 2).mean(dim=(2, 4))
    torch.testing.assert_close(class_evidence(maps, [(0,), (1,)], power=1), expected)

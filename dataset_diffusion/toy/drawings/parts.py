"""Parts that several drawings share."""

from collections.abc import Sequence

from dataset_diffusion.toy.draw import RGB, STEEL, Pen, shade


def draw_wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    """A tyre, a filled rim and a hub."""
    pen.circle(x, y, radius, (28, 28, 30))
    pen.circle(x, y, radius * 0.52, STEEL)
    pen.circle(x, y, radius * 0.18, (70, 70, 74))


def draw_eye(pen: Pen, x: float, y: float, radius: float = 0.026) -> None:
    """An eye that looks to the right; its light rim keeps it visible in black fur."""
    pen.circle(x, y, radius, (225, 225, 220))
    pen.circle(x + radius * 0.2, y, radius * 0.72, (20, 20, 20))


def draw_legs(pen: Pen, fur: RGB, legs: Sequence[tuple[float, float]], top: float, width: float) -> None:
    """Four straight legs from the height `top` to the ground.

    `legs` are the x of each leg's hip and foot; the far legs, which are darker, come first.
    """
    for index, (hip, foot) in enumerate(legs):
        is_far = index < len(legs) // 2
        pen.bar((hip, top), (foot, 0.5), width * 1.15, shade(fur, 0.68 if is_far else 0.86), end_width=width * 0.9)

"""Small charts as inline SVG."""

from collections.abc import Sequence
from html import escape


def histogram(counts: Sequence[int], low: float, high: float, title: str, width: int = 100, height: int = 24) -> str:
    """Bars of a histogram; hovering over one shows what it counts."""
    most = max([*counts, 1])
    step = width / len(counts)
    size = (high - low) / len(counts)
    bars = []
    for index, count in enumerate(counts):
        tall = _height(count, most, height)
        place = f'x="{index * step:.1f}" y="{height - tall:.1f}" width="{step - 1:.1f}" height="{tall:.1f}"'
        start, end = low + index * size, low + (index + 1) * size
        bars.append(f"<rect {place}><title>{start:.3g} to {end:.3g}: {count}</title></rect>")
    shape = f'role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}"'
    return f'<svg class="histogram" {shape}>{"".join(bars)}</svg>'


def bar(value: float, full: float) -> str:
    """A bar that is filled to `value / full` of its width."""
    return f'<span class="bar"><span style="width:{100 * value / full if full else 0:.1f}%"></span></span>'


def _height(count: int, most: int, height: int) -> float:
    # Any count above 0 stays visible.
    return max(1.0, count / most * height) if count else 0.0

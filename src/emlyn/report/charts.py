"""Charts as small inline SVG: scales, axes and marks. Colours come from the page's style sheet, so that one drawing serves light, dark and paper.

Sizes are in the units of the view box (about CSS pixels); every chart scales with its column. Text is escaped by markupsafe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from emlyn.report import words

WIDTH, HEIGHT = 420, 290
Point = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One chart with what it says in words and the numbers behind it."""

    title: str
    says: str
    """What the reader should see: caption and text alternative at once."""
    svg: Markup
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str], ...] = ()
    """(style class, label) pairs."""
    wide: bool = False


def apart(low: float, high: float) -> bool:
    """Far enough from each other that floating point can put marks between them."""
    return high - low > max(1e-9 * max(abs(low), abs(high)), 1e-290)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most about `most` round numbers (1, 2 or 5 times a power of ten) inside [low, high]."""
    if not (math.isfinite(low) and math.isfinite(high)) or not apart(low, high):
        return [low] if math.isfinite(low) else []
    raw = (high - low) / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(f * size for f in (1, 2, 5, 10) if f * size >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def compact(value: float) -> str:
    """A tick's label: 12k, 3M, 0.25."""
    size = abs(value)
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= unit:
            return f"{value / (1e3 if name == 'k' else unit):.4g}{name}"
    return f"{value:.4g}"


@dataclass
class Axes:
    """A drawing in data coordinates. Values outside the range are clipped to its edge."""

    x: Point
    y: Point
    x_label: str = ""
    y_label: str = ""
    x_text: Callable[[float], str] = compact
    y_text: Callable[[float], str] = compact
    x_ticks: Sequence[float] | None = None
    height: int = HEIGHT
    parts: list[Markup] = field(default_factory=list)

    LEFT, RIGHT, TOP, BOTTOM = 60, 18, 10, 40

    def __post_init__(self) -> None:
        self.x, self.y = widened(self.x), widened(self.y)

    def at(self, x: float, y: float) -> Point:
        """Drawing coordinates of a point."""
        u = min(max((x - self.x[0]) / (self.x[1] - self.x[0]), 0.0), 1.0)
        v = min(max((y - self.y[0]) / (self.y[1] - self.y[0]), 0.0), 1.0)
        return self.LEFT + u * (WIDTH - self.LEFT - self.RIGHT), self.height - self.BOTTOM - v * (self.height - self.TOP - self.BOTTOM)

    def _path(self, points: Iterable[Point]) -> str:
        return " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(self.at(*p) for p in points))

    def line(self, points: Sequence[Point], style: str) -> None:
        if points:
            self.parts.append(Markup('<path class="line {}" d="{}"/>').format(style, self._path(points)))

    def steps(self, edges: Sequence[float], heights: Sequence[float], style: str) -> None:
        """A histogram's outline, filled."""
        outline = [(edges[0], 0.0)] + [p for k, h in enumerate(heights) for p in ((edges[k], h), (edges[k + 1], h))] + [(edges[-1], 0.0)]
        self.parts.append(Markup('<path class="area {}" d="{}Z"/>').format(style, self._path(outline)))

    def band(self, x: Sequence[float], low: Sequence[float], high: Sequence[float], style: str) -> None:
        """The area between two curves."""
        around = list(zip(x, low, strict=True)) + list(zip(x, high, strict=True))[::-1]
        if around:
            self.parts.append(Markup('<path class="area band {}" d="{}Z"/>').format(style, self._path(around)))

    def dots(self, points: Iterable[Point], style: str, radius: float = 3.5) -> None:
        """All dots of one style as one path of round strokes: a thousand dots stay small."""
        drawn = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in (self.at(*p) for p in points))
        if drawn:
            self.parts.append(Markup('<path class="dots {}" stroke-width="{}" d="{}"/>').format(style, 2 * radius, drawn))

    def whiskers(self, bars: Iterable[tuple[float, float, float]], style: str) -> None:
        """Vertical intervals (x, low, high)."""
        drawn = "".join(f"M{a:.1f} {b:.1f}V{self.at(x, high)[1]:.1f}" for x, low, high in bars for a, b in (self.at(x, low),))
        if drawn:
            self.parts.append(Markup('<path class="whisker {}" d="{}"/>').format(style, drawn))

    def spans(self, bars: Iterable[tuple[float, float, float]], style: str) -> None:
        """Horizontal intervals (low, high, y)."""
        drawn = "".join(f"M{a:.1f} {b:.1f}H{self.at(high, y)[0]:.1f}" for low, high, y in bars for a, b in (self.at(low, y),))
        if drawn:
            self.parts.append(Markup('<path class="whisker {}" d="{}"/>').format(style, drawn))

    def text(self, x: float, y: float, text: str, anchor: str = "start", shift: Point = (0.0, 0.0)) -> None:
        a, b = self.at(x, y)
        self.parts.append(
            Markup('<text class="mark" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(a + shift[0], b + shift[1], anchor, text)
        )

    def _frame(self) -> list[Markup]:
        out, bottom, right = [], self.height - self.BOTTOM, WIDTH - self.RIGHT
        for value in ticks(*self.y):
            _, b = self.at(self.x[0], value)
            out.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(self.LEFT, b, right))
            out.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(self.LEFT - 7, b + 4, self.y_text(value)))
        marks = ticks(*self.x) if self.x_ticks is None else self.x_ticks
        for value in marks:
            a, _ = self.at(value, self.y[0])
            out.append(Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(a, bottom + 16, self.x_text(value)))
        out.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(self.LEFT, bottom, right))
        middle = self.TOP + (bottom - self.TOP) / 2
        out.append(
            Markup('<text class="label" x="{}" y="{}" text-anchor="middle">{}</text>').format((self.LEFT + right) / 2, self.height - 6, self.x_label)
        )
        out.append(Markup('<text class="label" transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>').format(middle, self.y_label))
        return out

    def svg(self, says: str) -> Markup:
        """The finished drawing, with `says` as its text alternative."""
        return picture(WIDTH, self.height, says, self._frame() + self.parts)


def picture(width: float, height: float, says: str, parts: Iterable[Markup]) -> Markup:
    """An SVG image with a text alternative."""
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(width, height, says, Markup("").join(parts))


def widened(span: Point) -> Point:
    """A range with some width, whatever came in."""
    low, high = (float(v) if math.isfinite(v) else 0.0 for v in span)
    if apart(low, high):
        return low, high
    pad = abs(low) * 0.1 or 1.0
    return low - pad, low + pad


def around(values: Iterable[float], pad: float = 0.06) -> Point:
    """The range of the finite values, with a margin."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    return widened((low - pad * (high - low), high + pad * (high - low)))


ICON_STYLES = ("hit", "miss", "alarm", "rest")


def icons(counts: Sequence[int], says: str, columns: int = 40) -> Markup:
    """A thousand people as dots, column by column: found, missed, falsely flagged (rings), left alone."""
    rows = max(math.ceil(sum(counts) / columns), 1)
    paths = {style: [] for style in ICON_STYLES}  # type: dict[str, list[str]]
    place = 0
    for style, many in zip(ICON_STYLES, counts, strict=True):
        for _ in range(many):
            paths[style].append(f"M{10 * (place // rows) + 5} {10 * (place % rows) + 5}h0")
            place += 1
    parts = [Markup('<path class="icon {}" d="{}"/>').format(style, "".join(drawn)) for style, drawn in paths.items() if drawn]
    if paths["alarm"]:
        parts.append(Markup('<path class="icon hole" d="{}"/>').format("".join(paths["alarm"])))
    return picture(10 * columns, 10 * rows, says, parts)


def box(quantiles: Sequence[float], low: float, high: float) -> Markup:
    """A column's spread in one line: whiskers at 5 and 95 %, box at 25 and 75 %, tick at the median, over 1 to 99 %."""
    if len(quantiles) != 7:
        return Markup("")
    q1, q5, q25, q50, q75, q95, q99 = quantiles
    left, right = widened((max(low, q1), min(high, q99)) if high > low else (q1, q99))

    def at(value: float) -> float:
        return 2 + 116 * min(max((value - left) / (right - left), 0.0), 1.0)

    says = f"half of the values lie between {words.number(q25)} and {words.number(q75)}, the middle one is {words.number(q50)}"
    parts = [
        Markup('<path class="whisker s1" d="M{:.1f} 9H{:.1f}"/>').format(at(q5), at(q95)),
        Markup('<path class="box s1" d="M{:.1f} 3H{:.1f}V15H{:.1f}Z"/>').format(at(q25), max(at(q75), at(q25) + 1), at(q25)),
        Markup('<path class="tick s1" d="M{:.1f} 1V17"/>').format(at(q50)),
    ]
    return Markup('<svg class="spark" viewBox="0 0 120 18" role="img" aria-label="{}">{}</svg>').format(escape(says), Markup("").join(parts))

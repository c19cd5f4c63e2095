"""Families of wrinkles: where the lines of an ageing face run, how deep they get, what deepens them.

Depths and widths are those of replicas and scans of skin in the literature: fine lines 0.05 to 0.2 mm deep,
crow's feet to 0.5 mm, forehead lines to 0.6 mm, frown lines and nasolabial furrows to 1 mm; 0.4 to 3 mm wide.
Each function gives lines on the image's right side; the other side is made likewise and mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facerelief.lab.datasets.wrinkle_lines import Anatomy, Line, SideDraws, joined, mirrored, wrinkle
from facerelief.typed import Float64

Family = Callable[[SideDraws, Float64, float], list[Line]]
"""Lines by random numbers, landmarks (68, 2) (a, b) in mm, and an amount: 0 none, 1 strong."""


def _depth(draws: SideDraws, amount: float, low: float, high: float) -> float:
    return (low + (high - low) * min(amount, 1.2)) * draws.uniform(0.7, 1.2)


def forehead(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """Lines across the forehead, along the brows."""
    out: list[Line] = []
    gap, dip = draws.uniform(5.0, 8.5), draws.uniform(-1.0, 4.5)
    lift, bottom = draws.uniform(1.0, 5.0), marks[24, 1] + draws.uniform(4.5, 8.0)
    for k in range(draws.count(1.5, 2.5 + 3 * amount)):
        b = bottom + gap * k * draws.uniform(0.9, 1.1)
        reach = draws.uniform(28, 56) if k else draws.uniform(42, 58)
        start = 0.0 if draws.uniform(0, 1) < 0.65 else draws.uniform(3, 14)
        control = [(a, b - dip * math.exp(-((a / 14) ** 2)) + lift * math.sin(math.pi * min(a / 62, 1)))
                   for a in np.linspace(start, reach, 6)]  # fmt: skip
        width = draws.uniform(0.8, 1.9) + 0.5 * min(amount, 1)
        strength = 1.0 if draws.uniform(0, 1) < 0.7 else 0.45
        line = wrinkle(
            draws,
            control,
            strength * _depth(draws, amount, 0.07, 0.62),
            width,
            kind="forehead",
            waviness=0.55,
            breaks=0.35,
            taper=(0.0 if start == 0 else 0.3, 0.45),
            shoulder=(0.25, 0.55),
            spacing=max(0.42 * gap / width, 1.2),
        )
        out.append(line)
        if draws.uniform(0, 1) < 0.35:  # a branch
            a, up = draws.uniform(8, 34), draws.uniform(1.5, 3.5)
            height = float(np.interp(a, line.points[:, 0], line.points[:, 1]))
            along = [(a, height), (a + 6, height + 0.7 * up), (a + draws.uniform(10, 18), height + up)]
            deep = draws.uniform(0.3, 0.7) * float(line.depth.max())
            out.append(wrinkle(draws, along, deep, 0.8 * width, kind="forehead", breaks=0.4))
    return out


def frown(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """Upright lines between the brows."""
    out: list[Line] = []
    top = marks[22, 1]
    for k in range(draws.count(1, 1 + 1.6 * amount)):
        a = draws.uniform(4.0, 7.5) + 5.0 * k
        lean = draws.uniform(-0.5, 2.5)
        high, low = top + draws.uniform(3, 15), top - draws.uniform(4, 14)
        control = [(a + lean, high), (a + 0.3 * lean, 0.5 * (high + low)), (a - 0.35 * lean - 0.5, low)]
        share = 1.0 if k == 0 else draws.uniform(0.3, 0.7)
        out.append(
            wrinkle(
                draws,
                control,
                share * _depth(draws, amount, 0.08, 0.8),
                draws.uniform(1.2, 2.8),
                kind="frown",
                waviness=0.5,
                taper=(0.45, 0.4),
                shoulder=(0.3, 0.65),
                spacing=draws.uniform(1.4, 2.2),
            )
        )
    return out


def root(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """Lines across the root of the nose."""
    out: list[Line] = []
    for k in range(draws.count(1, 1 + 1.2 * amount)):
        b, reach = draws.uniform(-3, 3) - 4.5 * k, draws.uniform(6, 11)
        control = [(0, b), (0.55 * reach, b + 0.4), (reach, b + draws.uniform(1, 3.5))]
        depth, width = _depth(draws, amount, 0.06, 0.5), draws.uniform(0.9, 1.8)
        out.append(wrinkle(draws, control, depth, width, kind="root", taper=(0, 0.55), waviness=0.3))
    return out


def crow(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """Crow's feet: a fan beside the outer corner of the eye."""
    out: list[Line] = []
    eye, count = marks[45], draws.count(2, 3.5 + 3.5 * amount)
    high, low = draws.uniform(12, 42), draws.uniform(-52, -18)
    for k in range(count):
        angle = math.radians(high + (low - high) * (k + draws.uniform(0.2, 0.8)) / count)
        start, length = (
            draws.uniform(4.5, 9.0),
            draws.uniform(8, 17) + 6 * min(amount, 1) * draws.uniform(0, 1),
        )
        curl = draws.uniform(0.0, 0.35) * math.copysign(1, angle + 0.15)
        way = [angle + curl * t for t in (0.0, 0.4, 0.8, 1.2)]
        spots = [eye + start * np.array([math.cos(angle), 0.8 * math.sin(angle)])]
        for turn in way:
            spots.append(spots[-1] + length / 4 * np.array([math.cos(turn), math.sin(turn)]))
        share = 1.0 if draws.uniform(0, 1) < 0.6 else draws.uniform(0.3, 0.6)
        depth, width = share * _depth(draws, amount, 0.05, 0.5), draws.uniform(0.7, 1.7)
        out.append(
            wrinkle(
                draws, spots, depth, width, kind="crow", waviness=0.35, taper=(0.2, 0.7),
                shoulder=(0.2, 0.55), spacing=draws.uniform(1.2, 2.0), breaks=0.35,
            )
        )  # fmt: skip
        if draws.uniform(0, 1) < 0.4 * amount and len(spots) > 3:
            side = math.radians(draws.uniform(12, 28)) * (1 if draws.uniform(0, 1) < 0.5 else -1)
            ahead = 0.5 * length * np.array([math.cos(angle + side), math.sin(angle + side)])
            branch = [spots[2], spots[2] + 0.5 * ahead, spots[2] + ahead]
            out.append(wrinkle(draws, branch, 0.6 * depth, 0.8 * width, kind="crow", waviness=0.25))
    return out


def _below_eye(marks: Float64, drop: float, start: float, end: float, sag: float = 0.0) -> Float64:
    """(7, 2) control points `drop` mm below the lower lid, from a share of its width to another."""
    inner, outer = marks[42] + [1, -1], marks[45] + [1, 0]
    lid = marks[[46, 47]].mean(axis=0)
    t = np.linspace(start, end, 7)
    a = inner[0] + (outer[0] - inner[0]) * t
    low = np.minimum(inner[1], outer[1]) - (lid[1] - 1)
    line = inner[1] + (outer[1] - inner[1]) * t - low * 4 * t * (1 - t)
    return np.column_stack([a, line - drop * (0.75 + 0.25 * np.sin(np.pi * np.clip(t, 0, 1))) - sag * t])


def under_eye(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """Fine lines below the lower lid."""
    out: list[Line] = []
    for k in range(draws.count(1, 3 + 4 * amount)):
        drop = 3.5 + 1.7 * k * draws.uniform(0.7, 1.2)
        start = draws.uniform(0.0, 0.55)
        end = min(start + draws.uniform(0.3, 0.7), 1.15)
        control = _below_eye(marks, drop, start, end, draws.uniform(-1, 3))
        depth, width = _depth(draws, amount, 0.04, 0.26), draws.uniform(0.5, 1.2)
        out.append(
            wrinkle(
                draws, control, depth, width, kind="under_eye", waviness=0.3, taper=(0.4, 0.4), breaks=0.4
            )
        )
    return out


def bag(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """Eye bags: a pouch above a shallow furrow."""
    drop = draws.uniform(8.0, 12.5)
    control = _below_eye(marks, drop, -0.02, draws.uniform(0.75, 0.95), draws.uniform(-1.5, 1))
    high = _depth(draws, amount, 0.1, 1.1)
    out = [
        wrinkle(
            draws, control, draws.uniform(0.25, 0.5) * high, draws.uniform(2.0, 3.6), kind="bag",
            waviness=0.3, taper=(0.3, 0.5), power=(1.5, 2.0), breaks=0.2, fold=high,
            fold_mm=draws.uniform(3.8, 5.5),
        )
    ]  # fmt: skip
    if draws.uniform(0, 1) < 0.4 * amount:  # the cheek's own edge below
        control = _below_eye(marks, drop + draws.uniform(5, 8), 0.25, 1.05, draws.uniform(0, 4))
        depth = draws.uniform(0.1, 0.25) * high
        out.append(wrinkle(draws, control, depth, draws.uniform(2, 3.2), kind="bag", taper=(0.5, 0.5)))
    return out


def nasolabial(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """The fold from the wing of the nose past the mouth's corner."""
    wing, corner = marks[35] + [5.0, draws.uniform(5, 8)], marks[54]
    end = corner + [draws.uniform(7, 12), -draws.uniform(-1, 10)]
    beside = np.array([corner[0] + draws.uniform(5, 9), corner[1] + draws.uniform(6, 10)])
    half = 0.5 * (wing + beside) + [draws.uniform(0, 2.5), draws.uniform(0, 2)]
    depth = _depth(draws, amount, 0.08, 0.65)
    fold, width = _depth(draws, amount, 0.15, 1.7), draws.uniform(6.5, 11.0)
    out = [
        wrinkle(
            draws, [wing, half, beside, end], depth, draws.uniform(1.6, 3.8), kind="nasolabial",
            waviness=0.25, taper=(0.35, 0.6), breaks=0.3, fold=fold, fold_mm=width, shoulder=(0.0, 0.15),
            power=(1.4, 2.0),
        )
    ]  # fmt: skip
    if draws.uniform(0, 1) < 0.35 * amount:  # a second line beside it
        aside = np.array([draws.uniform(2.5, 5), 0])
        control = [half + aside, beside + aside, end + 0.6 * aside]
        deep = draws.uniform(0.2, 0.5) * depth
        out.append(wrinkle(draws, control, deep, draws.uniform(0.8, 1.5), kind="nasolabial"))
    return out


def cheek(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """Curved lines across the cheek beside the nasolabial fold."""
    out: list[Line] = []
    corner = marks[54]
    for k in range(draws.count(0.6, 1 + 2.2 * amount)):
        a = corner[0] + 15 + 7.5 * k + draws.uniform(-2, 3)
        high, low = corner[1] + draws.uniform(8, 24), corner[1] - draws.uniform(2, 18)
        bow = draws.uniform(2, 5)
        control = [
            (a - bow, high),
            (a, 0.65 * high + 0.35 * low),
            (a + 0.5, 0.3 * high + 0.7 * low),
            (a - bow, low),
        ]
        depth, width = _depth(draws, amount, 0.05, 0.45), draws.uniform(1.2, 2.6)
        out.append(
            wrinkle(
                draws, control, depth, width, kind="cheek", taper=(0.5, 0.5), shoulder=(0.2, 0.5), breaks=0.4
            )
        )
    return out


def marionette(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """The line from the mouth's corner downward."""
    corner = marks[54]
    start = corner + [draws.uniform(1, 3.5), -draws.uniform(1.5, 5)]
    middle, end = (
        corner + [draws.uniform(*a), -draws.uniform(*b)] for a, b in (((3, 6), (8, 13)), ((4, 9), (17, 28)))
    )
    return [
        wrinkle(
            draws, [start, middle, end], _depth(draws, amount, 0.05, 0.5), draws.uniform(1.6, 3.4),
            kind="marionette", waviness=0.3, taper=(0.45, 0.6), fold=_depth(draws, amount, 0.05, 0.75),
            fold_mm=draws.uniform(5.5, 9.5), shoulder=(0.0, 0.15), power=(1.5, 2.0),
        )
    ]  # fmt: skip


def chin(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """The crease between lower lip and chin."""
    b, reach = marks[57, 1] - draws.uniform(5.5, 9), draws.uniform(12, 19)
    control = [(0, b), (0.5 * reach, b + draws.uniform(-0.5, 1)), (reach, b - draws.uniform(2, 6))]
    depth, width = _depth(draws, amount, 0.04, 0.45), draws.uniform(1.8, 3.2)
    return [wrinkle(draws, control, depth, width, kind="chin", taper=(0, 0.5), power=(1.5, 2.0), breaks=0.2)]


def lips(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """Fine upright lines above and below the lips."""
    out: list[Line] = []
    for border, way, share in ((marks[[51, 52, 53, 54]], 1, 1.0), (marks[[57, 56, 55, 54]], -1, 0.35)):
        a = draws.uniform(0.5, 3)
        while a < 21:
            b = float(np.interp(a, border[:, 0], border[:, 1]))
            length, lean = draws.uniform(3, 8.5), draws.uniform(0.02, 0.28) * (a / 10)
            here = draws.uniform(0, 1) < share * (0.35 + 0.6 * amount)
            points = [(a + lean * x * length, b + way * (0.8 + x * length)) for x in (0.0, 0.5, 1.0)]
            depth, width = _depth(draws, amount, 0.04, 0.2), draws.uniform(0.5, 1.1)
            if here:
                out.append(wrinkle(draws, points, depth, width, kind="lips", waviness=0.2, taper=(0.2, 0.7)))
            a += draws.uniform(1.8, 4.2)
    return out


def bunny(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """Lines on the side of the nose."""
    out: list[Line] = []
    for k in range(draws.count(1, 2 + 1.4 * amount)):
        a, b = draws.uniform(4, 6.5), marks[27, 1] - 9 - draws.uniform(3.5, 5.5) * k
        control = [
            (a, b),
            (a + 4, b - draws.uniform(0.5, 2.5)),
            (a + draws.uniform(7, 10), b - draws.uniform(2, 6)),
        ]
        depth, width = _depth(draws, amount, 0.04, 0.32), draws.uniform(0.6, 1.3)
        out.append(wrinkle(draws, control, depth, width, kind="bunny", waviness=0.25, taper=(0.4, 0.5)))
    return out


def crinkles(draws: SideDraws, marks: Float64, amount: float) -> list[Line]:
    """A net of short, shallow lines: skin that has lost its elasticity."""
    out: list[Line] = []
    eye, corner, lid = marks[45], marks[54], marks[[46, 47]].mean(axis=0)
    zones = (  # middle, reach, direction in degrees and its deviation, share of the lines
        (lid + [3, -9], (15, 5), -8, 20, 0.28),
        (eye + [14, -4], (8, 12), -15, 35, 0.2),
        (np.array([44, -48]), (14, 20), -62, 30, 0.27),
        (np.array([20, marks[24, 1] + 16]), (22, 11), 3, 14, 0.1),
        (corner + [3, -18], (12, 11), -70, 35, 0.15),
    )
    along = np.linspace(-1, 1, 6)
    taper = 1 - along**2
    for middle, reach, direction, spread, share in zones:
        count = int(share * 110 * min(amount, 1.2))
        u, v, turn, more, length, bow, deep, wide = draws.shares(8 * count).reshape(8, count)
        angles = np.radians(direction + 2 * spread * (turn + more - 1))
        for k in range(count):
            way = np.array([math.cos(angles[k]), math.sin(angles[k])]) * (1.2 + 2.8 * length[k])
            bent = (bow[k] - 0.5) * 0.5 * taper
            place = middle + (2 * np.array([u[k], v[k]]) - 1) * reach
            points = place + along[:, None] * way + bent[:, None] * [-way[1], way[0]]
            depth = (0.02 + 0.06 * deep[k]) * (0.5 + amount) * taper
            if points[:, 0].min() >= 0:
                out.append(Line(points, depth, 0.4 + 0.6 * wide[k], 1.7, 0.3, 0.4, kind="crinkles"))
    return out


@dataclass(frozen=True)
class Habit:
    """A family in the population."""

    family: Family
    often: tuple[float, float]
    """Shares of young and old faces that have it."""
    amount: tuple[float, float]
    """Usual amounts of young and old faces that have it."""
    driven: float
    """Amount that a full expression adds."""
    crosses: bool = False
    """Its lines may begin on the midline and go on beyond it."""


FAMILIES: dict[str, Habit] = {
    "forehead": Habit(forehead, (0.3, 0.95), (0.12, 0.98), 0.75, crosses=True),
    "frown": Habit(frown, (0.3, 0.85), (0.15, 0.75), 0.7),
    "root": Habit(root, (0.05, 0.5), (0.15, 0.69), 0.6, crosses=True),
    "crow": Habit(crow, (0.2, 0.95), (0.1, 0.98), 0.7),
    "under_eye": Habit(under_eye, (0.35, 0.95), (0.15, 0.92), 0.4),
    "bag": Habit(bag, (0.3, 0.85), (0.15, 0.86), 0.3),
    "nasolabial": Habit(nasolabial, (0.5, 0.97), (0.12, 0.8), 0.5),
    "cheek": Habit(cheek, (0.02, 0.5), (0.1, 0.69), 0.7),
    "marionette": Habit(marionette, (0.1, 0.85), (0.1, 0.8), 0.5),
    "chin": Habit(chin, (0.3, 0.7), (0.15, 0.69), 0.5, crosses=True),
    "lips": Habit(lips, (0.02, 0.6), (0.1, 0.8), 0.6),
    "bunny": Habit(bunny, (0.02, 0.35), (0.15, 0.57), 0.7),
    "crinkles": Habit(crinkles, (0.1, 0.85), (0.15, 0.8), 0.2),
}


def drives(weights: Mapping[str, float], side: int) -> dict[str, float]:
    """Family -> how much an expression deepens its lines, 0 to 1.

    Args:
        weights: ARKit expression -> weight.
        side: 1 for the image's right, the subject's left; -1 for the other.
    """
    own = "Left" if side > 0 else "Right"

    def of(name: str) -> float:
        return float(np.clip(weights.get(name, weights.get(f"{name}{own}", 0.0)), 0, 1))

    smile, squint = of("mouthSmile"), max(of("eyeSquint"), of("cheekSquint"))
    return {
        "forehead": max(of("browInnerUp"), of("browOuterUp")),
        "frown": of("browDown"),
        "root": max(of("browDown"), 0.7 * of("noseSneer")),
        "crow": max(squint, 0.8 * smile, 0.6 * of("eyeBlink")),
        "under_eye": max(squint, 0.7 * smile),
        "bag": 0.5 * squint,
        "nasolabial": max(smile, of("noseSneer"), of("cheekSquint"), 0.4 * of("mouthStretch")),
        "cheek": smile,
        "marionette": max(of("mouthFrown"), 0.6 * of("mouthStretch"), 0.5 * smile),
        "chin": max(of("mouthShrugLower"), 0.6 * of("mouthPress"), 0.5 * of("mouthFrown")),
        "lips": max(of("mouthPucker"), 0.6 * of("mouthFunnel")),
        "bunny": of("noseSneer"),
    }


def face_lines(
    place: Anatomy, age: float, weights: Mapping[str, float], asymmetry: float, seed: Sequence[int]
) -> list[Line]:
    """The wrinkles of a face.

    Args:
        place: Landmarks.
        age: 0 young to 1 old; above and below as well.
        weights: ARKit expression -> weight.
        asymmetry: Share of the random numbers that differ between the sides.
        seed: Non-negative numbers that decide everything.
    """
    out: list[Line] = []
    moved = {side: drives(weights, side) for side in (1, -1)}
    for number, (name, habit) in enumerate(FAMILIES.items()):
        rng = np.random.default_rng([*seed, number, 9])
        has, spread = float(rng.random()), float(np.exp(0.35 * rng.standard_normal()))
        often, usual = (np.interp(age, (0, 1), pair) for pair in (habit.often, habit.amount))
        halves: list[list[Line]] = []
        for side in (1, -1):
            drive = moved[side].get(name, 0.0)
            amount = spread * float(usual) * (has < often) + habit.driven * drive * (0.45 + 0.55 * age)
            draws = SideDraws([*seed, number], side, asymmetry)
            halves.append(habit.family(draws, place.marks, min(amount, 1.3)) if amount > 0.03 else [])
        out += _both_sides(*halves) if habit.crosses else [*halves[0], *map(mirrored, halves[1])]
    return out


def _both_sides(right: list[Line], left: list[Line]) -> list[Line]:
    """Lines of both sides, those that begin on the midline joined."""
    out: list[Line] = []
    starts = [[line for line in half if abs(line.points[0, 0]) < 0.5] for half in (right, left)]
    count = min(map(len, starts))
    out += [joined(a, b) for a, b in zip(*starts)]
    for half, mine, turn in ((right, starts[0], False), (left, starts[1], True)):
        rest = [line for line in half if not any(line is one for one in mine[:count])]
        out += [mirrored(line) if turn else line for line in rest]
    return out

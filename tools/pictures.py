"""Draws the pictures of the documentation as SVG: by hand-placed boxes, checked against the code.

They bring their own white ground, so that they can be read on a dark page, too. The state machine's
picture fails to be drawn when a state or a way is not in it, or is in it and not in the table.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from controller.core.machine import TABLE
from controller.core.model import State

_INK: Final = "#22313a"
_GREY: Final = "#6b7b85"
_GREEN: Final = "#0b6e4f"
_BLUE: Final = "#2c5f8a"
_RED: Final = "#b23a48"
_YELLOW: Final = "#a86b00"
_FONT: Final = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
_SVG: Final = "http://www.w3.org/2000/svg"
_TINTS: Final = {
    _GREEN: "#e3f3ec",
    _BLUE: "#e6eff7",
    _RED: "#fae6e9",
    _YELLOW: "#fbf0dc",
    _GREY: "#eef1f3",
}


@dataclass(frozen=True, slots=True)
class Box:
    """A box with a title and a line below it; coordinates are its middle."""

    x: float
    y: float
    title: str
    below: str = ""
    colour: str = _BLUE
    width: float = 128
    height: float = 44

    def svg(self) -> str:
        """Return its elements."""
        left, top = self.x - self.width / 2, self.y - self.height / 2
        shape = (
            f'<rect x="{left:g}" y="{top:g}" width="{self.width:g}" '
            f'height="{self.height:g}" rx="6" fill="{_TINTS[self.colour]}" '
            f'stroke="{self.colour}" stroke-width="1.4"/>'
        )
        shift = -4 if self.below else 4
        words = text(self.x, self.y + shift, self.title, colour=self.colour, weight="bold")
        return (
            shape + words + (text(self.x, self.y + 12, self.below, size=10.5) if self.below else "")
        )


def text(
    x: float,
    y: float,
    words: str,
    *,
    colour: str = _INK,
    size: float = 12,
    weight: str = "normal",
    anchor: str = "middle",
) -> str:
    """Return a line of text."""
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size:g}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{html.escape(words)}</text>'
    )


def arrow(
    points: Sequence[tuple[float, float]], colour: str = _INK, *, dashed: bool = False
) -> str:
    """Return a line through *points* with a head at its end."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash} '
        f'marker-end="url(#head-{colour[1:]})"/>'
    )


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """Return the whole drawing."""
    heads = "".join(
        f'<marker id="head-{c[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{c}"/></marker>'
        for c in (_INK, _GREY, _GREEN, _BLUE, _RED, _YELLOW)
    )
    view = f'viewBox="0 0 {width} {height}" font-family="{_FONT}"'
    return "\n".join(
        [
            f'<svg xmlns="{_SVG}" width="{width}" height="{height}" {view} role="img">',
            f"<title>{html.escape(title)}</title>",
            f"<defs>{heads}</defs>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


# --- The state machine ----------------------------------------------------------------------------

_ROAD: Final = {
    State.QUEUED: (82, 190, "waits for its turn", _GREY),
    State.PREFLIGHT: (232, 190, "asks, touches nothing", _GREY),
    State.BACKUP: (232, 100, "restore point", _GREY),
    State.MIGRATING: (382, 100, "expands the schema", _BLUE),
    State.STAGING: (382, 190, "image to the idle slot", _BLUE),
    State.WARMING: (532, 190, "this build answers", _BLUE),
    State.SHIFTING: (682, 190, "a share of the users", _BLUE),
    State.OBSERVING: (832, 190, "the judge looks", _BLUE),
    State.PROMOTING: (982, 190, "100 %, or the swap", _BLUE),
    State.BAKING: (1132, 190, "the judge looks on", _BLUE),
    State.APPROVAL: (682, 84, "waits for a person", _YELLOW),
    State.HELD: (982, 84, "no evidence: a human", _YELLOW),
    State.SUCCEEDED: (1132, 300, "the new build serves", _GREEN),
    State.REJECTED: (157, 390, "nothing was touched", _GREY),
    State.SUPERSEDED: (457, 390, "made room", _GREY),
    State.ROLLED_BACK: (757, 390, "the stable build serves", _RED),
}
_BACK: Final = State.ROLLING_BACK
_BACK_BAR: Final = (318, 1052, 300)  # from, to, y
_UNTOUCHED: Final = {State.QUEUED, State.PREFLIGHT, State.BACKUP}  # these end without a way back
# How the ways of the table are drawn; those to ROLLING_BACK, and the ends of what was not touched,
# are drawn for all at once.
_WAYS: Final[dict[tuple[State, State], list[tuple[float, float]]]] = {
    (State.QUEUED, State.PREFLIGHT): [(146, 190), (166, 190)],
    (State.PREFLIGHT, State.BACKUP): [(215, 168), (215, 124)],
    (State.PREFLIGHT, State.MIGRATING): [(262, 168), (330, 124)],
    (State.PREFLIGHT, State.STAGING): [(296, 190), (316, 190)],
    (State.BACKUP, State.MIGRATING): [(296, 100), (316, 100)],
    (State.MIGRATING, State.STAGING): [(382, 122), (382, 166)],
    (State.STAGING, State.WARMING): [(446, 190), (466, 190)],
    (State.WARMING, State.SHIFTING): [(596, 190), (616, 190)],
    (State.WARMING, State.APPROVAL): [(560, 168), (616, 100)],
    (State.WARMING, State.PROMOTING): [(532, 212), (532, 244), (950, 244), (950, 214)],
    (State.SHIFTING, State.OBSERVING): [(746, 184), (766, 184)],
    (State.OBSERVING, State.SHIFTING): [(768, 198), (748, 198)],
    (State.OBSERVING, State.APPROVAL): [(805, 168), (748, 98)],
    (State.OBSERVING, State.PROMOTING): [(896, 190), (916, 190)],
    (State.OBSERVING, State.HELD): [(852, 168), (915, 100)],
    (State.APPROVAL, State.SHIFTING): [(682, 106), (682, 166)],
    (State.APPROVAL, State.PROMOTING): [(746, 78), (880, 78), (940, 166)],
    (State.APPROVAL, State.HELD): [(746, 68), (916, 68)],
    (State.HELD, State.APPROVAL): [(918, 58), (748, 58)],
    (State.HELD, State.SHIFTING): [(960, 62), (960, 36), (600, 36), (600, 150), (650, 168)],
    (State.HELD, State.PROMOTING): [(992, 106), (992, 166)],
    (State.HELD, State.SUCCEEDED): [(1046, 76), (1216, 76), (1216, 300), (1198, 300)],
    (State.PROMOTING, State.BAKING): [(1046, 190), (1066, 190)],
    (State.PROMOTING, State.SUCCEEDED): [(1020, 212), (1086, 276)],
    (State.BAKING, State.HELD): [(1120, 168), (1048, 100)],
    (State.BAKING, State.SUCCEEDED): [(1132, 212), (1132, 276)],
}
_OUT: Final = (392, 510, 682, 832, 990)  # from where, on the road, ways lead to the bar


def state_machine() -> str:
    """Return docs/pictures/state-machine.svg.

    Raises:
        ValueError: the drawing and the table differ; it says in what.
    """
    _compare()
    left, right, y = _BACK_BAR
    bar = Box((left + right) / 2, y, _BACK.name, "", _RED, right - left, 40)
    note = text(
        (left + right) / 2,
        y + 14,
        "from MIGRATING to BAKING, HELD and APPROVAL: one goal, stable serves everyone",
        size=10.5,
    )
    parts = [text(24, 30, "The life of a rollout", size=16, weight="bold", anchor="start")]
    parts += [arrow(points, _colour(way)) for way, points in _WAYS.items()]
    parts += [arrow([(x, 212), (x, y - 24)], _RED, dashed=True) for x in _OUT]
    parts += [
        arrow([(340, 122), (340, y - 24)], _RED, dashed=True),  # from MIGRATING, behind STAGING
        arrow([(1090, 212), (1040, y - 24)], _RED, dashed=True),
        arrow([(757, y + 20), (757, 364)], _RED),
        arrow([(457, y + 20), (457, 364)], _GREY),
        arrow([(82, 212), (130, 364)], _GREY, dashed=True),
        arrow([(232, 212), (184, 364)], _GREY, dashed=True),
        text(157, 290, "refused", colour=_GREY, size=10.5),
        text(486, 346, "a newer push", colour=_GREY, size=10.5, anchor="start"),
        bar.svg().replace(f'y="{y + 4:g}"', f'y="{y - 3:g}"'),
        note,
    ]
    parts += [Box(x, at, s.name, said, c).svg() for s, (x, at, said, c) in _ROAD.items()]
    parts.append(text(24, 436, _FOOT, colour=_GREY, size=10.5, anchor="start"))
    return picture(1236, 452, "The states of a rollout and the ways between them", parts)


_FOOT: Final = (
    "BACKUP can be REJECTED, too; what was not touched yet can be SUPERSEDED without a way back. "
    "Each way with its event and condition: the table below."
)


def _colour(way: tuple[State, State]) -> str:
    if State.SUCCEEDED in way:
        return _GREEN
    return _YELLOW if {State.HELD, State.APPROVAL} & set(way) else _BLUE


def _compare() -> None:
    ways = {(row.source, row.to) for row in TABLE if row.source is not row.to}
    forward = {
        way
        for way in ways
        if way[1] is not _BACK
        and way[0] is not _BACK
        and not (way[0] in _UNTOUCHED and way[1] in {State.REJECTED, State.SUPERSEDED})
    }
    if odd := forward ^ set(_WAYS):
        names = sorted(f"{source.name} to {to.name}" for source, to in odd)
        raise ValueError(f"drawn or in the table, not both: {', '.join(names)}")
    if missing := set(State) - set(_ROAD) - {_BACK}:
        raise ValueError(f"not drawn: {sorted(state.name for state in missing)}")


# --- A push, and the path it takes ----------------------------------------------------------------


def rollout() -> str:
    """Return docs/pictures/rollout.svg: states over time, and the share of users."""
    base, top = 330, 170
    steps = [(340, 0), (340, 10), (440, 10), (440, 50), (545, 50), (545, 100), (900, 100)]
    line = [(x, base - share * (base - top) / 100) for x, share in steps]
    area = [*line, (line[-1][0], base), (line[0][0], base)]
    fall = [(440, line[2][1]), (470, line[2][1]), (470, base)]
    boxes = [
        Box(72, 90, "PREFLIGHT", "can it start?", _GREY, 96, 46),
        Box(176, 90, "STAGING", "idle slot", _BLUE, 84, 46),
        Box(276, 90, "WARMING", "it proves itself", _BLUE, 96, 46),
        Box(
            440, 90, "SHIFTING and OBSERVING", "step by step, judged at every poll", _BLUE, 206, 46
        ),
        Box(616, 90, "PROMOTING", "100 %, or a swap", _BLUE, 120, 46),
        Box(750, 90, "BAKING", "old build warm", _BLUE, 112, 46),
        Box(880, 90, "SUCCEEDED", "", _GREEN, 112, 46),
    ]
    gaps = [(a.x + a.width / 2, b.x - b.width / 2) for a, b in pairwise(boxes)]
    parts = [
        text(24, 32, "A push becomes a rollout", size=16, weight="bold", anchor="start"),
        *(box.svg() for box in boxes),
        *(arrow([(left + 1, 90), (right - 1, 90)]) for left, right in gaps),
        f'<polygon points="{_points(area)}" fill="{_TINTS[_GREEN]}"/>',
        f'<polyline points="{_points(line)}" fill="none" stroke="{_GREEN}" stroke-width="2.5"/>',
        f'<polyline points="{_points(fall)}" fill="none" stroke="{_RED}" {_DASHED}/>',
        f'<line x1="60" y1="{base}" x2="920" y2="{base}" stroke="{_INK}" stroke-width="1.2"/>',
        *(text(332, base - s * 1.6 + 4, f"{s} %", size=11, anchor="end") for s in (10, 50, 100)),
        text(24, 152, "users on the new build", size=11, colour=_GREY, anchor="start"),
        text(478, 322, "regressed: back in one write", size=11, colour=_RED, anchor="start"),
        text(750, 162, "the judge looks on", size=11, colour=_GREEN),
        text(60, 352, "push", size=11, anchor="start"),
        text(920, 352, "time", size=11, anchor="end"),
        text(24, 384, _STEADY, size=11, colour=_GREY, anchor="start"),
    ]
    return picture(960, 402, "A push, the rollout's states, and the share of users", parts)


_DASHED: Final = 'stroke-width="2" stroke-dasharray="6 4"'
_STEADY: Final = (
    "Meanwhile the stable build serves everyone else: it is what the new one is compared with, and "
    "where everyone goes back to."
)


def path() -> str:
    """Return docs/pictures/path.svg: a push on its way through doors, queues and functions."""
    boxes = [
        Box(90, 70, "registry", "tells of a push", _GREY),
        Box(90, 220, "people, pipelines", "order", _GREY),
        Box(270, 40, "on_image_pushed", "Event Grid", _BLUE, 140),
        Box(270, 110, "registry_webhook", "secret or signature", _BLUE, 140),
        Box(270, 190, "command", "HTTP", _BLUE, 140),
        Box(470, 110, "queue rollouts", "session = app", _YELLOW, 140),
        Box(690, 110, "on_command", "the engine", _GREEN, 150, 52),
        Box(930, 40, "table slipway", "1 load  2 decide  3 save", _GREY, 170),
        Box(930, 110, "App Service, builds", "4 the awaited effect", _GREY, 170),
        Box(930, 180, "blobs", "evidence of decisions", _GREY, 170),
        Box(470, 300, "queue observations", "session = workspace", _YELLOW, 150),
        Box(690, 300, "on_observe", "the observer", _GREEN, 150, 52),
        Box(930, 300, "Log Analytics", "one query for all", _GREY, 170),
        Box(270, 300, "sweep", "timer: what was forgotten", _BLUE, 160),
    ]
    parts = [
        text(24, 372, _PATH_FOOT, size=11, colour=_GREY, anchor="start"),
        arrow([(154, 62), (198, 46)]),
        arrow([(154, 80), (198, 104)]),
        arrow([(154, 212), (198, 196)]),
        arrow([(154, 232), (440, 232), (452, 134)], dashed=True),
        arrow([(340, 46), (420, 86)]),
        arrow([(340, 110), (398, 110)]),
        arrow([(340, 186), (424, 134)]),
        arrow([(540, 110), (613, 110)]),
        arrow([(765, 96), (843, 52)]),
        arrow([(765, 110), (843, 110)]),
        arrow([(765, 124), (843, 168)]),
        arrow([(650, 84), (650, 50), (500, 50), (500, 86)], _YELLOW),
        text(576, 42, "5 the wake-up, later", size=10.5, colour=_YELLOW),
        arrow([(668, 136), (540, 276)]),
        text(566, 212, "watch", size=10.5),
        arrow([(545, 300), (613, 300)]),
        arrow([(765, 300), (843, 300)]),
        arrow([(690, 274), (525, 134)]),
        text(654, 206, "observed", size=10.5),
        arrow([(650, 326), (650, 346), (500, 346), (500, 324)], _YELLOW),
        text(576, 342, "next poll", size=10.5, colour=_YELLOW),
        arrow([(765, 286), (815, 240), (815, 56), (843, 44)], _GREY, dashed=True),
        text(822, 250, "closed buckets", size=10.5, colour=_GREY, anchor="start"),
        arrow([(300, 278), (446, 134)], dashed=True),
    ]
    return picture(1040, 392, "The path of a push", [*parts, *(box.svg() for box in boxes)])


_PATH_FOOT: Final = (
    "Green: where decisions are made. Nothing waits inside a function: what needs time is asked "
    "again by a message that comes later."
)


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)

"""The colors that replays, figures and animations share.

Sub-policies have a palette of their own, so that "sub-policy 1" is the same orange everywhere.
It extends Okabe and Ito's (2008) palette to ten colors that also people with a color vision
deficiency tell apart, from each other and from the colors of the scene (tests/viz).
"""

SUBPOLICIES = (
    "#0072B2",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
    "#332288",
    "#F0E442",
    "#009E73",
    "#882255",
    "#661100",
    "#000000",
)
"""By the index of the sub-policy; the first two, which most runs have, are far apart."""

WALL = "#5B6472"
GOAL = "#7FC97F"
ENEMY = "#B3202C"
START = "#3A3F47"
FLOOR = "#F4F4F1"
GRID = "#DCDCD6"


def subpolicy_color(k: int) -> str:
    """The color of sub-policy `k`; colors repeat after the tenth."""
    return SUBPOLICIES[k % len(SUBPOLICIES)]


def text_color(k: int) -> str:
    """Black or white, whichever is easier to read on the color of sub-policy `k`."""
    red, green, blue = (int(subpolicy_color(k)[i : i + 2], 16) for i in (1, 3, 5))
    return "#FFFFFF" if 0.299 * red + 0.587 * green + 0.114 * blue < 100 else "#000000"

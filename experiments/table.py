"""The table of what can be run here: `python -m experiments` lists it, and others choose from it.

A new experiment is a module beside this file and a line in `TABLE`. Nothing is imported, so that
the list costs nothing.
"""

import dataclasses
from pathlib import Path
from typing import Literal

BUNDLED = Path(__file__).parent / "bundled"
"""Trained sub-policies that come with the code, one directory per experiment (`bundle`)."""

SHARED = "_shared"
"""What follows the experiment's name where the one policy of a K = 1 is bundled."""

Kind = Literal["training", "course", "tool"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One module that can be run.

    Attributes:
        kind: "training" for an experiment that trains sub-policies by itself, with `PRESETS` and
            `make_env`, which can be swept; "course" for one on frozen sub-policies of another one,
            with `PRESETS`; "tool" for what needs to be told of others.
        description: one line.
    """

    kind: Kind
    description: str


TABLE: dict[str, Entry] = {
    "moving_bandits": Entry(
        "training", "Two visible points, a hidden one pays: the paper's first test."
    ),
    "ant_twowalk": Entry(
        "training",
        "An ant learns to walk right and up without being told that these are two skills.",
    ),
    "ant_bandits": Entry("training", "An ant learns to go to one of two places and to stay there."),
    "ant_maze": Entry(
        "training", "An ant learns three gaits that serve nine mazes, then four it never saw."
    ),
    "swimmer_bandits": Entry(
        "training", "A swimmer learns two strokes that serve places it is not told."
    ),
    "humanoid_walk_crawl": Entry(
        "training", "A humanoid learns to walk and to crawl without being told that these are two."
    ),
    "key_door": Entry("training", "A key opens two points, of which a hidden one pays."),
    "all_walk": Entry("training", "A hidden goal anywhere in a square, the nearer the better."),
    "four_rooms": Entry(
        "training", "A hidden goal in four rooms: trained on 83 cells, measured on 20 others."
    ),
    "taxi": Entry("training", "A taxi that is not told where its passengers are and want to."),
    "minigrid_empty": Entry("training", "MiniGrid's empty room, from starts that change."),
    "minigrid_door_key_5x5": Entry(
        "training", "MiniGrid's key, locked door and goal, in layouts that change."
    ),
    "minigrid_four_rooms": Entry("training", "MiniGrid's four rooms, in layouts that change."),
    "minigrid_mixed": Entry("training", "Layouts of the three MiniGrids, a third of each."),
    "ant_obstacle": Entry("course", "A sparse course, crossed by choosing between learned gaits."),
    "ant_obstacle_big": Entry("course", "A course four times as large, on the gaits of ant_maze."),
    "humanoid_course": Entry(
        "course",
        "A humanoid walks to a mark and crawls back, by the gaits it learned.",
    ),
    "transfer": Entry("tool", "Fresh masters on any environment: --checkpoint RUN --env NAME."),
    "baseline": Entry("tool", "A method to compare with, on any environment: --env NAME."),
    "sweep": Entry("tool", "Hyperparameters of an experiment, many trials at once: --env NAME."),
    "ablation": Entry("tool", "moving_bandits with each ingredient taken away, one at a time."),
    "rules": Entry("tool", "moving_bandits under every update rule, for masters and sub-policies."),
    "separation": Entry("tool", "A suite of small worlds: do sub-policies become different?"),
    "limits": Entry("tool", "What K sub-policies held for N steps can earn in four rooms."),
    "report": Entry("tool", "Learning curves and a table over seeds, of any runs: RUN…"),
    "bundle": Entry("tool", "Puts the sub-policies of a run beside the code: --run RUN."),
}
"""What can be run, by the name of its module."""


def names(*kinds: Kind) -> tuple[str, ...]:
    """The names of some kinds, or of all without any, in the order of the table."""
    return tuple(name for name, entry in TABLE.items() if not kinds or entry.kind in kinds)


def module_name(name: str) -> str:
    """The module that a name stands for; a name that is not in the table is that of a module."""
    return f"experiments.{name}" if name in TABLE else name

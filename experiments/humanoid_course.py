"""A course on which a humanoid has to walk and then to crawl back, on what it learned of each.

Sub-policies of humanoid_walk_crawl, those that come with the code or `--subpolicies RUN`, are
frozen. Fresh masters learn the course over them. With as many env steps a policy learns it that all
tasks of humanoid_walk_crawl shared (`--num-subpolicies 1` there; `--shared-policy RUN` for another
than comes with the code), and a single policy from scratch.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import envs
from experiments import humanoid_walk_crawl
from experiments.harness.config import AdaptationConfig, Crossing, Flat, MakeEnv
from experiments.table import SHARED
from mlsh_jax.host.launch import Preset, parse, run_main
from mlsh_jax.rl.config import LearnerConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """A humanoid_course run.

    Attributes:
        seed: of everything random.
        backend: physics of Brax.
        subpolicies: run or checkpoint of humanoid_walk_crawl to take the sub-policies from, or the
            name of bundled ones; None for those that come with the code.
        crossing: how the course is learned and measured.
    """

    seed: int = 0
    backend: Literal["spring", "generalized"] = "spring"
    subpolicies: str | None = None
    crossing: Flat[Crossing] = dataclasses.field(default_factory=Crossing)


# The course asks for one change of what to do, at a place. On the way back x says no more what is
# asked for, but the height does, since the body lies: masters see both, and choose for a second and
# a half. A master that never tries to crawl beyond the mark loses more the further it walks, and
# learns to fall before it. With standardized observations, rewards that critics can follow and many
# small steps masters stay undecided for long enough to find out (results/humanoids.md).
CROSSING = Crossing(
    course=AdaptationConfig(
        iterations=40,
        num_tasks=2,
        num_envs=16,
        macro_length=100,
        reward_scale=1e-3,  # a slice of walking pays 600, the way there and back up to 20,000
        checkpoint_every=1,
        master=LearnerConfig(
            normalize_observations=True,
            learning_rate=3e-3,
            clip_epsilon=0.3,
            epochs=10,
            num_minibatches=4,
            entropy_coefficient=0.005,  # of more of it masters waver on the way back
        ),
    ),
    shared_policy=f"humanoid_walk_crawl{SHARED}",
    # As sub-policies learned, in minibatches of the same size.
    single_policy=dataclasses.replace(humanoid_walk_crawl.SUBPOLICY, num_minibatches=96),
    episodes=32,
)
SMOKE_CROSSING = dataclasses.replace(
    CROSSING,
    course=dataclasses.replace(
        CROSSING.course, iterations=2, num_tasks=1, steps_per_iteration=16 * 100
    ),
    single_policy=dataclasses.replace(CROSSING.single_policy, num_minibatches=4),
    episodes=2,
)
PAPER_CROSSING = dataclasses.replace(
    CROSSING,
    course=dataclasses.replace(
        CROSSING.course,
        iterations=200,
        num_tasks=1,
        num_envs=10,
        macro_length=200,
        restart_within_slices=False,
        master_sees_place_only=False,
        deterministic_when_frozen=False,
        master=LearnerConfig(learning_rate=1e-2),
    ),
    single_policy=LearnerConfig(num_minibatches=10),
)

PRESETS = {
    "default": Preset(
        Config(crossing=CROSSING),
        "two masters and two policies, forty iterations: some fourteen minutes on two cores",
    ),
    "smoke": Preset(Config(crossing=SMOKE_CROSSING), "2 small iterations"),
    "paper": Preset(Config(crossing=PAPER_CROSSING), "N 200 and the paper's learning rates"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Learns the course on frozen sub-policies and without them, reports."""
    launch = parse("humanoid_course", PRESETS, argv)
    from experiments.harness import course  # with JAX, for which --help does not wait

    course.cross_on_frozen(launch, make_course_env, "humanoid_walk_crawl")


def make_course_env(config: Config) -> MakeEnv:
    """Makes the course with the configured physics."""
    return lambda length: envs.make(
        "humanoid_course", episode_length=length, backend=config.backend
    )


if __name__ == "__main__":
    run_main(main)

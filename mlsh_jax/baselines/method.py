"""What a method is: a way to learn on tasks that can be trained, adapted and measured.

MLSH itself and everything that it is compared with are methods, so that all of them run in the
same environments, with the same checkpoints, metrics and closing numbers. All functions are pure;
the shell (`experiments.harness.stages.train` and `measure`) compiles them and keeps their states.
"""

import dataclasses
import importlib
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax

from mlsh_jax.adapt import Assessment, Episodes
from mlsh_jax.baselines import baseline_address
from mlsh_jax.config import MLSHConfig
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.errors import ConfigError
from mlsh_jax.metrics import Metrics
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.tasks import Tasks

StateT = TypeVar("StateT")


@dataclasses.dataclass(frozen=True)
class Method(Generic[StateT]):
    """A way to learn, and to show what was learned.

    Attributes:
        name: of the method, and of its stage in a run.
        init: `key -> state`: nothing was learned yet.
        iteration: `state -> (state, metrics)`. The metrics are those of `metrics.behavior_metrics`
            and of the learners, scalars and small arrays.
        adapt: `(state, key) -> what play needs`: learning on the tasks that are to be played, as
            far as a method has that.
        play: `(what adapt returned, key) -> Episodes [G, E, ...]`, or an `Assessment` of these,
            alone or with the curve of the adaptation: whole episodes in which nothing is learned.
        env_steps: environment steps of an iteration, over all tasks.
        num_tasks: G of the arrays in `spread`; their number is that of `play` as well.
        spread: names of the parts of the state that have a leading task axis.
    """

    name: str
    init: Callable[[jax.Array], StateT]
    iteration: Callable[[StateT], tuple[StateT, Metrics]]
    adapt: Callable[[StateT, jax.Array], Any]
    play: Callable[[Any, jax.Array], Episodes | Assessment | tuple[Assessment, Metrics]]
    env_steps: int
    num_tasks: int
    spread: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a baseline is given: the environments, tasks and batches of what it is compared with.

    Attributes:
        env: with episodes to learn on.
        full_env: with whole episodes, to be measured on.
        config: the algorithm's: batches, reward scale, K, N, what masters see, whether what learns
            no more draws its actions (`Agent.frozen`).
        learner: how the baseline learns.
        tasks: `[G, ...]`.
        num_episodes: per task in the closing measurement.
        num_shares: in how many equal shares tasks lie on different devices.
        option: what the learner's options are called, for messages.
    """

    env: TaskEnvironment
    full_env: TaskEnvironment
    config: MLSHConfig
    learner: LearnerConfig
    tasks: Tasks
    num_episodes: int
    num_shares: int = 1
    option: str = "learner"


def make_baseline(name: str, setting: Setting) -> Method[Any]:
    """The baseline of a name in `BASELINES`, or of a `"module:function"`.

    The name may have come with somebody else's run. So nothing of Python's own library is called,
    in which there is much that does other things than to make methods.

    Raises:
        ConfigError: there is none, or the setting does not suit it, naming the field.
    """
    module_name, _, function = baseline_address(name).partition(":")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise ConfigError(f"baseline: {name}: is in Python's own library, which makes no methods")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"baseline: {name}: cannot be imported ({error})") from error
    if not callable(make := getattr(module, function, None)):
        raise ConfigError(f"baseline: {name}: {module_name} has no function {function}")
    method = make(setting)
    if not isinstance(method, Method):
        raise ConfigError(
            f"baseline: {name}: returns a {type(method).__name__} and no "
            "mlsh_jax.baselines.method.Method"
        )
    return method

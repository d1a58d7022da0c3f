"""Probe environments: tiny task distributions whose best behavior and values are known.

Each isolates one thing that a learner can get wrong: the value of a constant reward (discount
and bootstrap), the dependence on the observation (gradient), the dependence on the task (the
hierarchy), a delayed reward (discount and sign), continuous actions. `Clock` learns nothing: it
counts its own steps, so that a rollout of it can be checked by hand.
"""

import jax
import jax.numpy as jnp
from flax import struct

from envs.base import State, TaskEnv
from envs.wrappers import EpisodeWrapper
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.rl.distributions import Categorical
from mlsh_jax.rl.networks import Network

LONGEST_EPISODE = 12


@struct.dataclass
class World:
    """State of a probe.

    Attributes:
        time: steps taken in the episode, int32 scalar.
        first_action: action of the first step, float32 scalar.
        noise: uniform in [0, 1), drawn at the reset, one per step, `[LONGEST_EPISODE]`.
    """

    time: jax.Array
    first_action: jax.Array
    noise: jax.Array


class Probe(TaskEnv):
    """What probes share: a task that is an int32 scalar, and a world that is a clock.

    Subclasses define `observe`, `reward` and, where episodes terminate, `terminates`.
    """

    episode_length = 4
    num_actions: int | None = 2
    action_size = 1
    observation_size = 1
    task_names = ("only",)
    backend = "none"

    @property
    def name(self) -> str:
        return type(self).__name__

    def all_tasks(self) -> jax.Array:
        return jnp.arange(len(self.task_names), dtype=jnp.int32)

    def sample_task(self, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (), 0, len(self.task_names), jnp.int32)

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        world = World(
            time=jnp.zeros((), jnp.int32),
            first_action=jnp.zeros(()),
            noise=jax.random.uniform(key, (LONGEST_EPISODE,)),
        )
        zero = jnp.zeros(())
        metrics = {"time": zero, "action": zero}
        info = {"task": jnp.asarray(task, jnp.int32)}
        return State(world, self.observe(world, task), zero, zero, metrics, info)

    def step(self, state: State, action: jax.Array) -> State:
        world, task = state.pipeline_state, state.info["task"]
        action = jnp.reshape(action, ()).astype(jnp.float32)
        reward = self.reward(world, action, task)
        world = world.replace(
            time=world.time + 1,
            first_action=jnp.where(world.time == 0, action, world.first_action),
        )
        return state.replace(
            pipeline_state=world,
            obs=self.observe(world, task),
            reward=jnp.asarray(reward, jnp.float32),
            done=jnp.asarray(self.terminates(world, task), jnp.float32),
            metrics={"time": world.time.astype(jnp.float32), "action": action},
        )

    def observe(self, world: World, task: jax.Array) -> jax.Array:
        """Observation in `world`: by default nothing but a constant."""
        return jnp.ones((1,))

    def reward(self, world: World, action: jax.Array, task: jax.Array) -> jax.Array:
        """Reward of `action` in `world`."""
        raise NotImplementedError

    def terminates(self, world: World, task: jax.Array) -> jax.Array:
        """Whether the episode ends for good on reaching `world`: by default never."""
        return jnp.zeros((), bool)


class Clock(Probe):
    """Step t of an episode (from 1) pays t.

    The observation is (t, a number that identifies the episode, the step at which the task
    terminates). Tasks terminate never, at step 3, or at step 5.
    """

    observation_size = 3
    episode_length = 8
    task_names = ("endless", "ends_at_3", "ends_at_5")

    def observe(self, world: World, task: jax.Array) -> jax.Array:
        return jnp.stack([world.time.astype(jnp.float32), world.noise[0], self._end(task)])

    def reward(self, world: World, action: jax.Array, task: jax.Array) -> jax.Array:
        return world.time + 1

    def terminates(self, world: World, task: jax.Array) -> jax.Array:
        return world.time == self._end(task)

    def _end(self, task: jax.Array) -> jax.Array:
        return jnp.asarray([-1.0, 3.0, 5.0])[task]


class Fragile(Clock):
    """The clock, but where a task would terminate the physics fails."""

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        state = super().reset_to_task(key, task)
        return state.replace(metrics={**state.metrics, "physics_nan": jnp.zeros(())})

    def step(self, state: State, action: jax.Array) -> State:
        stepped = super().step(state, action)
        metrics = {**stepped.metrics, "physics_nan": stepped.done}
        stepped = stepped.replace(
            pipeline_state=jax.tree.map(
                lambda new, old: jnp.where(stepped.done > 0, old, new),
                stepped.pipeline_state,
                state.pipeline_state,
            ),
            obs=jnp.where(stepped.done > 0, state.obs, stepped.obs),
            reward=jnp.where(stepped.done > 0, 0.0, stepped.reward),
        )
        return stepped.replace(metrics=metrics)


class ConstantReward(Probe):
    """Every step pays 1 and nothing ever ends for good: V = 1 / (1 - γ)."""

    def reward(self, world: World, action: jax.Array, task: jax.Array) -> jax.Array:
        return jnp.ones(())


class MatchSign(Probe):
    """Action 1 pays 1 where the observation is +1, action 0 where it is -1."""

    def observe(self, world: World, task: jax.Array) -> jax.Array:
        return self._sign(world)[None]

    def reward(self, world: World, action: jax.Array, task: jax.Array) -> jax.Array:
        return action == (self._sign(world) > 0)

    def _sign(self, world: World) -> jax.Array:
        return jnp.where(world.noise[world.time] < 0.5, -1.0, 1.0)


class TwoArms(Probe):
    """The hidden task is which of the two actions pays 1."""

    task_names = ("arm_0", "arm_1")

    def reward(self, world: World, action: jax.Array, task: jax.Array) -> jax.Array:
        return action == task


class Patience(Probe):
    """The first of three actions chooses 0.6 now (action 0) or 1 two steps later (action 1).

    Waiting is worth γ², so it is right for γ > 0.775 and wrong below. The observation is the
    time, one-hot, and whether the agent is waiting. The third step is terminal.
    """

    NOW = 0.6
    observation_size = 4
    episode_length = 3

    def observe(self, world: World, task: jax.Array) -> jax.Array:
        return jnp.append(jax.nn.one_hot(world.time, 3), world.first_action)

    def reward(self, world: World, action: jax.Array, task: jax.Array) -> jax.Array:
        now = jnp.where(action == 0, self.NOW, 0.0)
        return jnp.select([world.time == 0, world.time == 2], [now, world.first_action], 0.0)

    def terminates(self, world: World, task: jax.Array) -> jax.Array:
        return world.time == 3


class Target(Probe):
    """One continuous action a, which costs (a - 0.4)²."""

    BEST = 0.4
    num_actions = None

    def reward(self, world: World, action: jax.Array, task: jax.Array) -> jax.Array:
        return -((action - self.BEST) ** 2)


def tiny_config(**overrides) -> MLSHConfig:
    """A configuration that compiles and runs in seconds; `overrides` replace fields."""
    defaults = {
        "num_subpolicies": 2,
        "macro_length": 2,
        "num_tasks": 3,
        "num_envs": 4,
        "steps_per_iteration": 48,
        "warmup_iterations": 2,
        "joint_iterations": 2,
        "master": tiny_ppo(learning_rate=1e-2, clip_epsilon=0.8),
        "subpolicy": tiny_ppo(learning_rate=1e-2),
    }
    return MLSHConfig(**(defaults | overrides))


def tiny_ppo(**overrides) -> LearnerConfig:
    """A small network and few epochs; `overrides` replace fields."""
    defaults = {"hidden_sizes": (8,), "epochs": 2, "normalize_observations": False}
    return LearnerConfig(**(defaults | overrides))


def probe_agent(env: TaskEnv, config: MLSHConfig, episode_length: int | None = None) -> Agent:
    """An agent for `env` with a time limit, by default that of its definition."""
    return make_agent(EpisodeWrapper(env, episode_length or env.episode_length), config)


def constant_network() -> Network:
    """A network that sees nothing: its parameters are the logits and the value."""

    def over(observation: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.broadcast_to(x, observation.shape[:-1] + x.shape)

    return Network(
        init=lambda key: {"logits": jnp.zeros((2,)), "value": jnp.zeros(())},
        policy=lambda params, o: Categorical(over(o, params["logits"])),
        value=lambda params, o: over(o, params["value"]),
    )


def one_action_each(num_subpolicies: int = 2) -> dict[str, jax.Array]:
    """Parameters of `constant_network` with which sub-policy k always takes action k."""
    logits = jnp.where(jnp.eye(num_subpolicies, 2) > 0, 0.0, -1e9)
    return {"logits": logits, "value": jnp.zeros((num_subpolicies,))}

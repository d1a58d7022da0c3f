"""The training of a sweep: trials of one structure side by side, saved as they go.

Every process of a sweep runs this alike; the scheduler, which decides which trials are trained and
which are dropped, is in process 0 alone, and the others are told.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.sweeps import report
from experiments.sweeps.scheduler import Placement, Scheduler, journal_length
from experiments.sweeps.space import Space, field_of
from mlsh_jax import population
from mlsh_jax.agent import Agent, make_agent
from mlsh_jax.environment import TaskEnvironment, has_physics
from mlsh_jax.errors import RunError
from mlsh_jax.finite import all_finite
from mlsh_jax.host import processes
from mlsh_jax.host.checkpoint import TRAINER, CheckpointStore
from mlsh_jax.host.compilation import Program, compile_ahead
from mlsh_jax.host.devices import Layout
from mlsh_jax.host.runs import Run
from mlsh_jax.host.signals import StopRequest, stop_on_signal, wait_for
from mlsh_jax.population import NUMBERS


@dataclasses.dataclass
class Costs:
    """What a sweep has cost, over all of its sessions.

    Attributes:
        env_steps: environment steps of trials; places that nobody has do not count.
        compile_seconds: compilation.
        wall_seconds: all the time, compilation included.
        populations: programs that were compiled.
    """

    env_steps: int = 0
    compile_seconds: float = 0.0
    wall_seconds: float = 0.0
    populations: int = 0


@dataclasses.dataclass
class PopulationTrainer:
    """Populations of trials, one after another.

    Attributes:
        run: of the sweep.
        layout: the devices that a population is spread over.
        store: where its states are saved.
        space: what is tried.
        scheduler: in process 0.
        env: what trials are trained on.
        keys: of the training of every trial and seed, `[P, S]`.
        costs: so far.
    """

    run: Run
    layout: Layout
    store: CheckpointStore
    space: Space
    scheduler: Scheduler | None
    env: TaskEnvironment
    keys: jax.Array
    costs: Costs

    def train(self) -> None:
        """Trains populations until the study has all of its trials.

        Raises:
            StoppedError: SIGINT or SIGTERM; everything was saved.
        """
        with stop_on_signal() as stop:
            while (structure := self._ask(Scheduler.next_structure)) is not None:
                self._train(structure, stop)

    def _train(self, structure: dict[str, Any], stop: StopRequest) -> None:
        """Trains trials of one structure until there are none left.

        If the newest saved population has this structure, it is gone on from.
        """
        started = time.monotonic()
        agent = make_agent(self.env, self.space.config(structure))
        varying = sorted(set(self.space.ranges) & set(NUMBERS))
        num_places = self.keys.shape[0]
        numbers = {
            name: np.full(num_places, float(field_of(agent.config, name))) for name in varying
        }
        nobody = np.zeros(num_places, bool)
        placed = self._placed(numbers, nobody, nobody)
        program, states = self._compile(agent, structure, placed)
        if program is None:
            return
        title = f"population of {num_places}"
        title += "".join(f", {name} {value}" for name, value in structure.items())
        print(f"{title}: {program}", flush=True)
        self.costs.compile_seconds += program.compile_seconds
        self.costs.populations += 1
        steps_of_one = self.keys.shape[1] * agent.config.env_steps_per_meta_iteration
        while taken := self._ask(lambda scheduler: scheduler.fill(structure)):
            begins, active = np.zeros((2, num_places), bool)
            for place, (age, chosen) in taken.items():
                active[int(place)] = True
                begins[int(place)] = age == 0
                for name in varying:
                    numbers[name][int(place)] = chosen[name]
            began = time.monotonic()
            states, returns = program(states, *self._placed(numbers, begins, active))
            wait_for(returns)
            self.costs.env_steps += len(taken) * steps_of_one
            placement: Placement = {}
            if self.scheduler is not None:
                self.scheduler.record(np.asarray(returns))
                placement = self.scheduler.placement()
            ended = time.monotonic()
            self.costs.wall_seconds += ended - started
            rate = len(taken) * steps_of_one / (ended - began)
            started = ended
            self._save(states, structure, placement)
            if self.scheduler is not None:
                study = self.scheduler.study
                print(f"{report.progress(study)}  steps/s {rate:,.0f}", flush=True)
            if stop_signal := processes.largest(stop.signal):
                raise self.run.stopped("all trials", stop_signal)

    def _ask(self, question: Callable[[Scheduler], Any]) -> Any:
        """What the scheduler answers, as JSON has it, in every process."""

        def answer() -> str:
            assert self.scheduler is not None  # process 0 has it
            return json.dumps(question(self.scheduler))

        return json.loads(processes.from_first(answer))

    def _placed(
        self, numbers: dict[str, np.ndarray], begins: np.ndarray, active: np.ndarray
    ) -> tuple[Any, ...]:
        """All of them on every device."""
        numbers = {name: values.astype(np.float32) for name, values in numbers.items()}
        return jax.device_put((numbers, begins, active), self.layout.replicated)

    def _compile(
        self, agent: Agent, structure: dict[str, Any], placed: Any
    ) -> tuple[Program | None, Any]:
        """A meta-iteration of the population, None if it does not fit, and its first states.

        The program takes states, numbers, which trials begin and which there are, as `placed`; it
        returns the states and the returns `[P, S]`, which are not finite where anything of a trial
        is not.
        """
        layout, keys = self.layout, self.keys
        init = functools.partial(population.init, agent)

        def advance(states, numbers, begins, active, keys):
            states = population.restart(agent, states, keys, begins)
            states, metrics = population.meta_iteration(
                agent, states, numbers, active, one_by_one=jax.default_backend() == "cpu"
            )
            # A diverged policy may well have a finite return.
            finite = all_finite((states, metrics), batch_dims=2)  # [P, S]
            return states, jnp.where(finite, metrics["return"], jnp.nan)

        def sharded(states, *placed):
            return layout.per_device(advance)(states, *placed, keys)

        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout.by_task),
            jax.eval_shape(init, keys),
        )
        shardings = layout.by_task, layout.replicated
        program, reason = None, ""
        try:
            program = compile_ahead(
                sharded,
                abstract,
                *placed,
                out_shardings=shardings,
                donate=True,
                has_physics=has_physics(agent.env),
            )
        except RunError as error:
            reason = str(error)
        if processes.largest(int(program is None)):
            reason = reason or "another process has not enough memory for it"
            if not self._ask(lambda scheduler: scheduler.refuse(structure, reason)):
                raise RunError(f"{keys.shape[0]} trials at once: {reason}; or lower --parallel")
            print(f"failed the trials of {structure}: {reason}", flush=True)
            return None, None
        latest = self.store.latest()
        if latest is not None and self.store.metadata(latest)["structure"] == structure:
            return program, self.store.restore({TRAINER: abstract}).items[TRAINER]
        return program, jax.jit(init, out_shardings=layout.by_task)(keys)

    def _save(self, states: Any, structure: dict[str, Any], placement: Any) -> None:
        metadata = {
            "structure": structure,
            "placement": placement,
            "journal": journal_length(self.run.directory),
            "costs": dataclasses.asdict(self.costs),
        }
        iteration = (self.store.latest() or 0) + 1
        self.store.save(iteration, {TRAINER: states}, metadata, score=float(iteration))

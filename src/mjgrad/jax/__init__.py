"""JAX front end: differentiable steps, rollouts and observations of a batch of worlds.

The verbs are pure functions with a custom VJP, for use under `jax.jit`, `jax.grad` and `jax.lax`.
The engine is called from `jax.pure_callback`, on CPU and GPU alike: the arguments of a call are
copied to the host, from there to the simulator and back. A callback depends on its arguments alone;
the backward one takes its steps again before it reverses them, so that nothing is stored but the
arguments. A gradient thus costs two forward passes and a backward one, plus the copies, and
`mjgrad.torch` is the faster front end on a GPU.

The worlds of the simulator are the batch. `jax.vmap` over a verb is correct, but runs one call
after another; it makes `jax.jacrev` available. There is one reverse derivative: forward mode and
second derivatives are errors of JAX.

Arguments are checked when a function is traced, by `InvalidInput`. What a step reports,
`CapacityError`, `NonFiniteState` or `StepLimit`, is raised by the call itself; under `jax.jit`, by
JAX as a `jax.errors.JaxRuntimeError` whose text contains the error, when a result is waited for.
Since JAX computes in the background, wait (`jax.block_until_ready`) before using the simulator
otherwise, through another front end for example.
"""

from mjgrad.jax.observe import observe as observe
from mjgrad.jax.state import State as State
from mjgrad.jax.state import initial_state as initial_state
from mjgrad.jax.step import rollout as rollout
from mjgrad.jax.step import step as step

"""Calls of the engine from JAX: pure functions of host arrays, with a custom VJP.

    forward     (x)            ->  y
    backward    (x, adj_y)     ->  adj_x

A simulator's arrays are scratch space that all its calls share, and JAX may run callbacks in any
order, more than once, and on several threads: each loads all its inputs, and they take turns.
"""

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mjgrad._src.errors import InvalidInput

_TURN = threading.Lock()

Arrays = Mapping[str, Any]


class Call(Protocol):
  """A call of the engine; equal calls hash alike, so that JAX traces them once.

  Attributes:
    outputs: shapes and types of the results of `forward`, by name
  """

  @property
  def outputs(self) -> dict[str, jax.ShapeDtypeStruct]: ...

  def has_gradient(self, name: str) -> bool:
    """Whether an input has a cotangent; all others carry no gradient."""
    ...

  def forward(self, inputs: Arrays) -> dict[str, np.ndarray]:
    """The results, copies on the host of the shapes and types in `outputs`."""
    ...

  def backward(self, inputs: Arrays, cotangents: Arrays) -> dict[str, np.ndarray]:
    """The cotangents of the inputs that have one, in the shapes and types of these."""
    ...


def _value(call: Call, inputs: Arrays) -> dict[str, jax.Array]:
  return _run(_OnHost(call, "forward"), call.outputs, inputs)


def _forward(call: Call, inputs: Arrays):
  return _value(call, inputs), inputs


def _backward(call: Call, inputs: Arrays, cotangents: Arrays):
  results = {
    name: jax.ShapeDtypeStruct(value.shape, value.dtype)
    for name, value in inputs.items()
    if call.has_gradient(name)
  }
  grads = _run(_OnHost(call, "backward"), results, inputs, cotangents)
  return ({name: grads.get(name) for name in inputs},)


apply = jax.custom_vjp(_value, nondiff_argnums=(0,))
"""The results of a call, by name, differentiable in its inputs, arrays by name from `checked`."""

apply.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class _OnHost:
  """A method of a call as a callback; equal ones hash alike, so that JAX compiles them once."""

  call: Call
  method: str

  def __call__(self, *arguments: Arrays) -> dict[str, np.ndarray]:
    arguments = jax.tree.map(np.asarray, arguments)
    with _TURN:
      return getattr(self.call, self.method)(*arguments)


def _run(on_host: _OnHost, results, *arguments: Arrays) -> dict[str, jax.Array]:
  """Calls at once where all arguments are known, so that errors keep their type."""
  if any(isinstance(value, jax.core.Tracer) for value in jax.tree.leaves(arguments)):
    return jax.pure_callback(on_host, results, *arguments, vmap_method="sequential")
  return jax.tree.map(jnp.asarray, on_host(*arguments))


def checked(name: str, value, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
  """An array of the type that the engine takes, or that comes closest to it in JAX.

  Raises:
    InvalidInput: the value has another shape.
  """
  if np.shape(value) != shape:
    raise InvalidInput(f"{name} has shape {np.shape(value)}; expected {shape}.")
  return jnp.asarray(value, jax.dtypes.canonicalize_dtype(dtype))

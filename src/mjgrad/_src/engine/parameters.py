"""Differentiable model parameters: names, units, and the fields that follow them.

A parameter is a MuJoCo field by its own name. Given with MuJoCo's shape it is shared by all worlds,
with a leading world axis it is per world, if the engine keeps the field per world. Quaternions and
axes are normalised. `body_subtreemass` follows `body_mass`, the bounding volumes of the collision
broad phase follow `geom_size`, and shapes follow what deforms them (engine/shapes.py); the
constants that the compiler derives for the constraint solver (`invweight0`) are held fixed.
"""

import dataclasses
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from mjgrad._src.engine import lenders
from mjgrad._src.engine import shapes
from mjgrad._src.engine.features import FLUID
from mjgrad._src.engine.features import refused_parameters
from mjgrad._src.errors import InvalidInput

wp.set_module_options({"enable_backward": False})


@dataclasses.dataclass(frozen=True)
class Parameter:
  """A differentiable model field.

  Attributes:
    unit: SI unit of its entries
    lower: smallest meaningful value
    upper: largest meaningful value
    shape: shape of the MuJoCo field, without a world axis; of a given model
    shared: the engine has one value for all worlds
  """

  unit: str
  lower: float = -np.inf
  upper: float = np.inf
  shape: tuple[int, ...] = ()
  shared: bool = False


_SOLREF = Parameter("s, 1 (time constant, damping ratio), or 1/s^2, 1/s (negative, direct form)")
_SOLIMP = Parameter("1, 1, m or rad, 1, 1 (d_0, d_width, width, midpoint, power)", lower=0.0)

PARAMETERS = {
  "body_pos": Parameter("m"),
  "body_quat": Parameter("unit quaternion"),
  "body_ipos": Parameter("m"),
  "body_iquat": Parameter("unit quaternion"),
  "body_mass": Parameter("kg", lower=0.0),
  "body_inertia": Parameter("kg m^2", lower=0.0),
  "body_gravcomp": Parameter("1"),
  "body_invweight0": Parameter("1/kg, 1/(kg m^2)", lower=0.0),
  "dof_damping": Parameter("N m s/rad or N s/m", lower=0.0),
  "dof_dampingpoly": Parameter("N m s^2/rad^2, N m s^3/rad^3, or N s^2/m^2, N s^3/m^3"),
  "dof_armature": Parameter("kg m^2 or kg", lower=0.0),
  "dof_frictionloss": Parameter("N m or N", lower=0.0),
  "dof_invweight0": Parameter("1/(kg m^2) or 1/kg", lower=0.0),
  "dof_solref": _SOLREF,
  "dof_solimp": _SOLIMP,
  "jnt_pos": Parameter("m"),
  "jnt_axis": Parameter("unit vector"),
  "qpos0": Parameter("rad or m"),
  "jnt_stiffness": Parameter("N m/rad or N/m"),
  "jnt_stiffnesspoly": Parameter("N m/rad^2, N m/rad^3, or N/m^2, N/m^3"),
  "jnt_range": Parameter("rad or m"),
  "jnt_margin": Parameter("rad or m"),
  "jnt_solref": _SOLREF,
  "jnt_solimp": _SOLIMP,
  "qpos_spring": Parameter("rad, m, or unit quaternion"),
  "actuator_gainprm": Parameter("see the MuJoCo documentation of the actuator's gain type"),
  "actuator_biasprm": Parameter("see the MuJoCo documentation of the actuator's bias type"),
  "actuator_dynprm": Parameter("see the MuJoCo documentation of the actuator's dynamics type"),
  "actuator_gear": Parameter("1 (m for rotations into lengths)"),
  "actuator_damping": Parameter("N m s/rad or N s/m", lower=0.0),
  "actuator_dampingpoly": Parameter("N m s^2/rad^2, N m s^3/rad^3, or N s^2/m^2, N s^3/m^3"),
  "actuator_armature": Parameter("kg m^2 or kg", lower=0.0),
  "actuator_cranklength": Parameter("m", lower=0.0),
  "actuator_ctrlrange": Parameter("that of the control"),
  "actuator_forcerange": Parameter("N or N m"),
  "actuator_actrange": Parameter("that of the activation"),
  "actuator_lengthrange": Parameter("m or rad"),
  "actuator_acc0": Parameter("1/kg or 1/(kg m^2)", lower=0.0),
  "jnt_actfrcrange": Parameter("N or N m"),
  "tendon_actfrcrange": Parameter("N"),
  "geom_pos": Parameter("m"),
  "geom_quat": Parameter("unit quaternion"),
  "geom_friction": Parameter("1, m, m (slide, spin, roll)", lower=0.0),
  "geom_size": Parameter("m", lower=0.0),
  "geom_solref": _SOLREF,
  "geom_solimp": _SOLIMP,
  "geom_solmix": Parameter("1", lower=0.0),
  "geom_margin": Parameter("m"),
  "mesh_scale": Parameter("m per unit of the asset", lower=0.0, shared=True),
  "hfield_size": Parameter("m (x, y, top, bottom)", lower=0.0, shared=True),
  "hfield_data": Parameter("1 (fraction of the top)", lower=0.0, upper=1.0, shared=True),
  "pair_friction": Parameter("1, 1, m, m, m", lower=0.0),
  "pair_solref": _SOLREF,
  "pair_solreffriction": _SOLREF,
  "pair_solimp": _SOLIMP,
  "pair_margin": Parameter("m"),
  "site_pos": Parameter("m"),
  "site_quat": Parameter("unit quaternion"),
  "tendon_stiffness": Parameter("N/m (N m/rad for a fixed tendon of hinges)"),
  "tendon_stiffnesspoly": Parameter("N/m^2, N/m^3"),
  "tendon_damping": Parameter("N s/m", lower=0.0),
  "tendon_dampingpoly": Parameter("N s^2/m^2, N s^3/m^3"),
  "tendon_armature": Parameter("kg", lower=0.0),
  "tendon_frictionloss": Parameter("N", lower=0.0),
  "tendon_lengthspring": Parameter("m"),
  "tendon_invweight0": Parameter("1/kg", lower=0.0),
  "tendon_length0": Parameter("m"),
  "tendon_range": Parameter("m"),
  "tendon_margin": Parameter("m"),
  "tendon_solref_lim": _SOLREF,
  "tendon_solimp_lim": _SOLIMP,
  "tendon_solref_fri": _SOLREF,
  "tendon_solimp_fri": _SOLIMP,
  "eq_data": Parameter("see the MuJoCo documentation of the equality's type"),
  "eq_solref": _SOLREF,
  "eq_solimp": _SOLIMP,
  "opt.timestep": Parameter("s", lower=0.0),
  "opt.gravity": Parameter("m/s^2"),
  "opt.wind": Parameter("m/s"),
  "opt.density": Parameter("kg/m^3", lower=0.0),
  "opt.viscosity": Parameter("Pa s", lower=0.0),
  "opt.impratio": Parameter("1", lower=0.0),
}

UNIT = ("body_quat", "body_iquat", "geom_quat", "site_quat", "jnt_axis")
"""Parameters that are normalised before use, as the compiler normalises them."""

ENGINE_FIELD = {"opt.impratio": "opt.impratio_invsqrt", "mesh_scale": "mesh_pos"}
"""A field of the same shape, for parameters that the engine stores in another form."""


def parameters(sim) -> dict[str, Parameter]:
  """The differentiable parameters of a simulator's model.

  Args:
    sim: the `Simulator`.

  Returns:
    For each MuJoCo field name, its unit, bounds and shape. Left out are fields without entries and
    those that have no gradient in this model.
  """
  mjm = sim.mjm
  refused = refused_parameters(mjm)
  return {
    name: dataclasses.replace(info, shape=host_value(mjm, name).shape)
    for name, info in PARAMETERS.items()
    if name not in refused and host_value(mjm, name).size
  }


def host_value(mjm: mujoco.MjModel, name: str) -> np.ndarray:
  """The field's value in a MuJoCo model, shape of the MuJoCo field."""
  owner, field = (mjm.opt, name[4:]) if name.startswith("opt.") else (mjm, name)
  return np.asarray(getattr(owner, field))


def check_name(name: str) -> None:
  """Raises `InvalidInput` when `name` is not a differentiable parameter."""
  if name not in PARAMETERS:
    raise InvalidInput(
      f"'{name}' is not a differentiable parameter; choose from {', '.join(PARAMETERS)}."
    )


def is_per_world(mjm: mujoco.MjModel, nworld: int, name: str, shape: tuple[int, ...]) -> bool:
  """Whether a value of this shape is per world rather than shared.

  Raises:
    InvalidInput: unknown name, or a shape that is neither.
  """
  check_name(name)
  expected = host_value(mjm, name).shape
  if tuple(shape) == expected:
    return False
  if tuple(shape) == (nworld, *expected) and not PARAMETERS[name].shared:
    return True
  if PARAMETERS[name].shared:
    raise InvalidInput(
      f"parameter '{name}' has shape {tuple(shape)}; expected {expected}, shared by all worlds: "
      "the engine has no world axis for it."
    )
  raise InvalidInput(
    f"parameter '{name}' has shape {tuple(shape)}; expected {expected}, shared by all worlds, or "
    f"{(nworld, *expected)}, one value per world."
  )


def field_array(model: mjw.Model, name: str) -> wp.array:
  """The engine's array of a parameter, leading axis 1 or nworld."""
  field = ENGINE_FIELD.get(name, name)
  array = getattr(model.opt, field[4:]) if field.startswith("opt.") else getattr(model, field)
  return array.reshape((1, *array.shape)) if is_shared(name) else array


def is_shared(name: str) -> bool:
  """Whether a parameter, or a field that follows one, has no world axis in the engine."""
  return name in shapes.SHARED or (name in PARAMETERS and PARAMETERS[name].shared)


FOLLOWERS = {
  "body_mass": ("body_subtreemass",),
  "geom_size": shapes.BOUNDS,
  "mesh_scale": (*shapes.SHARED, *shapes.BOUNDS),
  "hfield_size": shapes.BOUNDS,
  "opt.impratio": ("opt.impratio_invsqrt",),
  **{name: (name,) for name in UNIT},
}
"""The engine's fields that are computed from a parameter."""


SWITCHES = {
  "has_fluid": FLUID,
  "has_tendon_stiffness": ("tendon_stiffness", "tendon_stiffnesspoly"),
  "has_tendon_damping": ("tendon_damping", "tendon_dampingpoly"),
  "has_efm_actuator": ("actuator_gainprm", "actuator_biasprm"),
}
"""The engine's flags that were set from the values of the model, and the parameters behind them."""


def zeros_like_field(field: wp.array, rows: int) -> wp.array:
  """A zero array with the entries of a field and `rows` rows in the leading axis."""
  return wp.zeros((rows, *field.shape[1:]), dtype=field.dtype, device=field.device)


def zero_cotangents(
  model: mjw.Model, nworld: int, requested: dict[str, bool]
) -> dict[str, wp.array]:
  """Zero cotangents of all parameters, with leading axis 1 or nworld; empty if not requested."""
  rows = {name: nworld if per_world else 1 for name, per_world in requested.items()}
  return {
    name: zeros_like_field(field_array(model, name), rows.get(name, 0)) for name in PARAMETERS
  }


def with_buffers(
  model: mjw.Model, nworld: int, requested: dict[str, bool]
) -> tuple[mjw.Model, dict[str, wp.array]]:
  """A model that reads the requested parameters from buffers of its own.

  Args:
    model: the engine's model; not changed.
    nworld: number of worlds.
    requested: whether each parameter is per world; for one that the engine has for all worlds,
      whether its gradient is.

  Returns:
    The variant of the model, and the buffers by parameter, each with leading axis 1 or nworld.
    What follows a parameter is an array of the variant.
  """

  def copy(name: str, per_world: bool) -> wp.array:
    array = field_array(model, name)
    source, rows = array.numpy(), nworld if per_world and not is_shared(name) else 1
    value = np.ascontiguousarray(np.broadcast_to(source[:1], (rows, *source.shape[1:])))
    return wp.array(value, dtype=array.dtype, device=model.qpos0.device)

  buffers = {name: copy(name, per_world) for name, per_world in requested.items()}
  fields = {name: buffer for name, buffer in buffers.items() if name not in ENGINE_FIELD}
  following: dict[str, bool] = {}
  for name, per_world in requested.items():
    for follower in FOLLOWERS.get(name, ()):
      following[follower] = following.get(follower, False) or (per_world and not is_shared(name))
  fields |= {follower: copy(follower, per_world) for follower, per_world in following.items()}
  fields = {n: a.reshape(a.shape[1:]) if is_shared(n) else a for n, a in fields.items()}
  option = {name[4:]: array for name, array in fields.items() if name.startswith("opt.")}
  others = {name: array for name, array in fields.items() if not name.startswith("opt.")}
  opt = dataclasses.replace(model.opt, **option)
  if not lenders.PARAMETERS.isdisjoint(requested):
    others |= _all_lenders(model)
  flags = {
    flag: getattr(model, flag) or any(name in requested for name in names)
    for flag, names in SWITCHES.items()
  }
  return dataclasses.replace(model, opt=opt, **flags, **others), buffers


def _all_lenders(model: mjw.Model) -> dict[str, wp.array]:
  """The fields of `engine/lenders.py`, on the model's device."""
  target = model.actuator_trnid.numpy().reshape(-1, 2)[:, 0]
  ids = lenders.all_lenders(model.actuator_trntype.numpy(), target, model.njnt, model.ntendon)
  names = ("jnt_actuatorid", "tendon_actuatorid")
  device = model.qpos0.device
  return {name: wp.array(i, dtype=int, device=device) for name, i in zip(names, ids)}


def given(model: mjw.Model, buffers: dict[str, wp.array]) -> dict[str, wp.array]:
  """The values of the parameters in `UNIT` before they are normalised."""
  return {name: buffers.get(name, field_array(model, name)) for name in UNIT}


@wp.kernel
def _normalize(
  # In:
  value: wp.array2d[Any],
  # Out:
  unit_out: wp.array2d[Any],
):
  row, i = wp.tid()
  unit_out[row, i] = wp.normalize(value[row, i])


@wp.kernel
def _subtreemass(
  # Model:
  body_subtreenum: wp.array[int],
  # In:
  body_mass: wp.array2d[float],
  # Out:
  body_subtreemass_out: wp.array2d[float],
):
  row, bodyid = wp.tid()
  total = float(0.0)
  for descendant in range(bodyid, bodyid + body_subtreenum[bodyid]):
    total += body_mass[row, descendant]
  body_subtreemass_out[row, bodyid] = total


@wp.kernel
def _inverse_square_root(
  # In:
  impratio: wp.array[float],
  # Out:
  impratio_invsqrt_out: wp.array[float],
):
  row = wp.tid()
  impratio_invsqrt_out[row] = 1.0 / wp.sqrt(wp.max(impratio[row], wp.static(mujoco.mjMINVAL)))


def update_followers(model: mjw.Model, buffers: dict[str, wp.array]) -> None:
  """Recomputes the fields that follow a parameter in `buffers`."""
  for name in UNIT:
    if name in buffers:
      value = buffers[name]
      wp.launch(_normalize, dim=value.shape, inputs=[value], outputs=[field_array(model, name)])
  if "body_mass" in buffers:
    mass = buffers["body_mass"]
    wp.launch(
      _subtreemass,
      dim=mass.shape,
      inputs=[model.body_subtreenum, mass],
      outputs=[model.body_subtreemass],
    )
  shapes.update_bounds(model, buffers)
  if "opt.impratio" in buffers:
    impratio = buffers["opt.impratio"]
    wp.launch(
      _inverse_square_root,
      dim=impratio.shape,
      inputs=[impratio],
      outputs=[model.opt.impratio_invsqrt],
    )

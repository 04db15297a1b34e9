"""Differentiable model parameters: names, units, and the fields that follow them.

A parameter is a MuJoCo field by its own name. Given with MuJoCo's shape it is shared by all worlds,
with a leading world axis it is per world. `body_subtreemass` follows `body_mass`, and the bounding
volumes of the collision broad phase follow `geom_size`; the constants that the compiler derives for
the constraint solver (`invweight0`) are held fixed.
"""

import dataclasses

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from mjgrad._src.errors import InvalidInput

wp.set_module_options({"enable_backward": False})


@dataclasses.dataclass(frozen=True)
class Parameter:
  """A differentiable model field.

  Attributes:
    unit: SI unit of its entries
    lower: smallest meaningful value
  """

  unit: str
  lower: float = -np.inf


PARAMETERS = {
  "body_mass": Parameter("kg", lower=0.0),
  "body_inertia": Parameter("kg m^2", lower=0.0),
  "dof_damping": Parameter("N m s/rad or N s/m", lower=0.0),
  "dof_armature": Parameter("kg m^2 or kg", lower=0.0),
  "dof_frictionloss": Parameter("N m or N", lower=0.0),
  "jnt_stiffness": Parameter("N m/rad or N/m"),
  "actuator_gainprm": Parameter("see the MuJoCo documentation of the actuator's gain type"),
  "actuator_biasprm": Parameter("see the MuJoCo documentation of the actuator's bias type"),
  "actuator_dynprm": Parameter("see the MuJoCo documentation of the actuator's dynamics type"),
  "actuator_gear": Parameter("1 (m for rotations into lengths)"),
  "actuator_ctrlrange": Parameter("that of the control"),
  "actuator_forcerange": Parameter("N or N m"),
  "actuator_actrange": Parameter("that of the activation"),
  "actuator_lengthrange": Parameter("m or rad"),
  "actuator_acc0": Parameter("1/kg or 1/(kg m^2)", lower=0.0),
  "jnt_actfrcrange": Parameter("N or N m"),
  "geom_friction": Parameter("1, m, m (slide, spin, roll)", lower=0.0),
  "geom_size": Parameter("m", lower=0.0),
  "geom_solref": Parameter("s, 1; in direct form -1/s^2, -1/s"),
  "geom_solimp": Parameter("1, 1, m, 1, 1 (dmin, dmax, width, midpoint, power)", lower=0.0),
  "geom_solmix": Parameter("1", lower=0.0),
  "geom_margin": Parameter("m"),
  "pair_friction": Parameter("1, 1, m, m, m", lower=0.0),
  "pair_solref": Parameter("s, 1; in direct form -1/s^2, -1/s"),
  "pair_solreffriction": Parameter("s, 1; in direct form -1/s^2, -1/s"),
  "pair_solimp": Parameter("1, 1, m, 1, 1 (dmin, dmax, width, midpoint, power)", lower=0.0),
  "pair_margin": Parameter("m"),
  "tendon_stiffness": Parameter("N/m (N m/rad for a fixed tendon of hinges)"),
  "tendon_damping": Parameter("N s/m", lower=0.0),
  "tendon_armature": Parameter("kg", lower=0.0),
  "tendon_frictionloss": Parameter("N", lower=0.0),
  "tendon_lengthspring": Parameter("m"),
  "tendon_range": Parameter("m"),
  "opt.gravity": Parameter("m/s^2"),
}


def parameters(mjm: mujoco.MjModel) -> dict[str, tuple[tuple[int, ...], Parameter]]:
  """Differentiable parameters of a model.

  Args:
    mjm: the model.

  Returns:
    For each MuJoCo field name, its shape without a world axis, and its unit and lower bound.
  """
  return {name: (host_value(mjm, name).shape, info) for name, info in PARAMETERS.items()}


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
  if tuple(shape) == (nworld, *expected):
    return True
  raise InvalidInput(
    f"parameter '{name}' has shape {tuple(shape)}; expected {expected}, shared by all worlds, or "
    f"{(nworld, *expected)}, one value per world."
  )


def field_array(model: mjw.Model, name: str) -> wp.array:
  """The engine's array of a parameter, leading axis 1 or nworld."""
  return getattr(model.opt, name[4:]) if name.startswith("opt.") else getattr(model, name)


def zeros_like_field(field: wp.array, rows: int) -> wp.array:
  """A zero array with the entries of a field and `rows` rows in the leading axis."""
  return wp.zeros((rows, *field.shape[1:]), dtype=field.dtype, device=field.device)


def with_buffers(
  model: mjw.Model, nworld: int, requested: dict[str, bool]
) -> tuple[mjw.Model, dict[str, wp.array]]:
  """A model that reads the requested parameters from buffers of its own.

  Args:
    model: the engine's model; not changed.
    nworld: number of worlds.
    requested: whether each parameter is per world.

  Returns:
    The variant of the model, and the buffers by name, each with leading axis 1 or nworld.
  """
  fields = dict(requested)
  if "body_mass" in requested:
    fields["body_subtreemass"] = requested["body_mass"]
  if "geom_size" in requested:
    fields["geom_rbound"] = requested["geom_size"]
    fields["geom_aabb"] = requested["geom_size"]
  buffers = {}
  for name, per_world in fields.items():
    source = field_array(model, name).numpy()
    rows = nworld if per_world else 1
    value = np.ascontiguousarray(np.broadcast_to(source[:1], (rows, *source.shape[1:])))
    buffers[name] = wp.array(value, dtype=field_array(model, name).dtype, device=model.qpos0.device)
  option = {name[4:]: a for name, a in buffers.items() if name.startswith("opt.")}
  model_fields = {name: a for name, a in buffers.items() if not name.startswith("opt.")}
  opt = dataclasses.replace(model.opt, **option) if option else model.opt
  return dataclasses.replace(model, opt=opt, **model_fields), buffers


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
def _bounds(
  # Model:
  geom_type: wp.array[int],
  # In:
  geom_size: wp.array2d[wp.vec3],
  # Out:
  geom_rbound_out: wp.array2d[float],
  geom_aabb_out: wp.array3d[wp.vec3],
):
  row, geomid = wp.tid()
  size = geom_size[row, geomid]
  if geom_type[geomid] == wp.static(int(mujoco.mjtGeom.mjGEOM_SPHERE)):
    geom_rbound_out[row, geomid] = size[0]
    geom_aabb_out[row, geomid, 1] = wp.vec3(size[0], size[0], size[0])
  elif geom_type[geomid] == wp.static(int(mujoco.mjtGeom.mjGEOM_CAPSULE)):
    geom_rbound_out[row, geomid] = size[0] + size[1]
    geom_aabb_out[row, geomid, 1] = wp.vec3(size[0], size[0], size[0] + size[1])
  elif geom_type[geomid] == wp.static(int(mujoco.mjtGeom.mjGEOM_ELLIPSOID)):
    geom_rbound_out[row, geomid] = wp.max(size)
    geom_aabb_out[row, geomid, 1] = size
  elif geom_type[geomid] == wp.static(int(mujoco.mjtGeom.mjGEOM_BOX)):
    geom_rbound_out[row, geomid] = wp.length(size)
    geom_aabb_out[row, geomid, 1] = size


def update_followers(model: mjw.Model, buffers: dict[str, wp.array]) -> None:
  """Recomputes the fields that follow a parameter in `buffers`."""
  if "body_mass" in buffers:
    mass = buffers["body_mass"]
    wp.launch(
      _subtreemass,
      dim=mass.shape,
      inputs=[model.body_subtreenum, mass],
      outputs=[buffers["body_subtreemass"]],
    )
  if "geom_size" in buffers:
    size = buffers["geom_size"]
    wp.launch(
      _bounds,
      dim=size.shape,
      inputs=[model.geom_type, size],
      outputs=[buffers["geom_rbound"], buffers["geom_aabb"]],
    )

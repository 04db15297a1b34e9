"""Contact forces: pyramidal and elliptic cones, condim 1, 3, 4 and 6.

Everything is expressed in the contact frame: v, a and lam are the relative velocities of the two
bodies at the contact point along the frame's axes (three translations, then three rotations), and
r = dist - margin. `law` is that of contacts from distance (terms/impedance.py). With y = a - aref,

    frictionless, pyramidal   phi = sum over edges with y < 0 of  D (J lam) y
                              edges J = n +- mu_i t_i; every active edge counts on its own
    elliptic                  phi = lam . grad s(y), s the cone's cost:
      sticking (bottom)         1/2 sum_i D_i y_i^2
      sliding (middle)          1/2 D_m (N - mu T)^2,  N = mu y_0,  T = |friction_i y_i|
      separating (top)          0

In an elliptic contact the tangential rows take b from solreffriction, where it is given.

Held fixed: which edges are active and which zone of the cone holds, both taken
from the solved acceleration.

Source: MuJoCo documentation, Computation, "Constraint model" (contact) and "Friction cones".
"""

import warp as wp

from mjgrad._src.engine.adapter import vec5
from mjgrad._src.terms.impedance import approach
from mjgrad._src.terms.impedance import contact_impedance
from mjgrad._src.terms.impedance import friction_damping
from mjgrad._src.terms.impedance import row_damping
from mjgrad._src.terms.impedance import row_stiffness
from mjgrad._src.terms.impedance import row_weight
from mjgrad._src.terms.impedance import vec6 as vec6

wp.set_module_options({"enable_backward": False})

SEPARATING = wp.constant(0)
STICKING = wp.constant(1)
SLIDING = wp.constant(2)


@wp.func
def pyramidal_term(
  r: float,
  v: vec6,
  a: vec6,
  lam: vec6,
  friction: vec5,
  solref: wp.vec2,
  solreffriction: wp.vec2,
  solimp: vec5,
  law: vec6,
  invweight: float,
  impratio_invsqrt: float,
  timestep: float,
  disableflags: int,
  condim: int,
  active: int,
) -> wp.float32:
  """phi of a frictionless or pyramidal contact; bit e of `active` says that edge e pushes."""
  imp = contact_impedance(solimp, law, r)
  b = row_damping(solref, solimp, imp, timestep, disableflags)
  spring = row_stiffness(solref, solimp, imp, timestep, disableflags) * imp * approach(law, r)
  value = float(0.0)
  if condim == 1:
    if (active & 1) != 0:
      d_normal = row_weight(invweight, solref, solimp, imp, timestep, disableflags)
      value = d_normal * lam[0] * (a[0] + b * v[0] + spring)
  else:
    mu = friction[0]
    weight = (invweight + mu * mu * invweight) * 2.0 * mu * mu
    scaled = weight * impratio_invsqrt * impratio_invsqrt
    d = row_weight(scaled, solref, solimp, imp, timestep, disableflags)
    y0 = a[0] + b * v[0] + spring
    for i in range(1, 6):
      tangent = friction[i - 1] * (a[i] + b * v[i])
      lam_tangent = friction[i - 1] * lam[i]
      if i < condim and (active & (1 << (2 * i - 2))) != 0:
        value = value + d * (lam[0] + lam_tangent) * (y0 + tangent)
      if i < condim and (active & (1 << (2 * i - 1))) != 0:
        value = value + d * (lam[0] - lam_tangent) * (y0 - tangent)
  return value


@wp.func
def elliptic_zone(y: vec6, friction: vec5, mu: float, condim: int) -> int:
  """Zone of the cone that holds the residual y."""
  n = mu * y[0]
  tt = float(0.0)
  for i in range(1, 6):
    if i < condim:
      u = friction[i - 1] * y[i]
      tt += u * u
  t = wp.sqrt(tt)
  zone = SLIDING
  if n >= mu * t:
    zone = SEPARATING
  elif mu * n + t <= 0.0:
    zone = STICKING
  return zone


@wp.func
def elliptic_term(
  r: float,
  v: vec6,
  a: vec6,
  lam: vec6,
  friction: vec5,
  solref: wp.vec2,
  solreffriction: wp.vec2,
  solimp: vec5,
  law: vec6,
  invweight: float,
  impratio_invsqrt: float,
  timestep: float,
  disableflags: int,
  condim: int,
  zone: int,
) -> wp.float32:
  """phi of an elliptic contact with condim at least 3."""
  imp = contact_impedance(solimp, law, r)
  b_tangent = friction_damping(solref, solimp, timestep, disableflags)
  if solreffriction[0] != 0.0 or solreffriction[1] != 0.0:
    b_tangent = friction_damping(solreffriction, solimp, timestep, disableflags)
  d0 = row_weight(invweight, solref, solimp, imp, timestep, disableflags)
  y0 = a[0] + row_damping(solref, solimp, imp, timestep, disableflags) * v[0]
  y0 = y0 + row_stiffness(solref, solimp, imp, timestep, disableflags) * imp * approach(law, r)
  value = float(0.0)
  if zone == STICKING:
    value = d0 * lam[0] * y0
    for i in range(1, 6):
      if i < condim:
        ratio = friction[i - 1] / (friction[0] * impratio_invsqrt)
        value = value + d0 * ratio * ratio * lam[i] * (a[i] + b_tangent * v[i])
  elif zone == SLIDING:
    mu = friction[0] * impratio_invsqrt
    dm = d0 / (mu * mu * (1.0 + mu * mu))
    tt = float(0.0)
    ut = float(0.0)
    for i in range(1, 6):
      if i < condim:
        u = friction[i - 1] * (a[i] + b_tangent * v[i])
        tt = tt + u * u
        ut = ut + u * friction[i - 1] * lam[i]
    t = wp.sqrt(tt)
    value = dm * (mu * y0 - mu * t) * (mu * lam[0] - mu * ut / t)
  return value


@wp.struct
class ContactAdjoint:
  """Cotangents of the motion that a contact force depends on."""

  r: wp.float32
  v: vec6
  a: vec6
  lam: vec6


@wp.struct
class MaterialAdjoint:
  """Cotangents of the parameters of a contact."""

  r: wp.float32
  friction: vec5
  solref: wp.vec2
  solreffriction: wp.vec2
  solimp: vec5
  invweight: wp.float32
  impratio_invsqrt: wp.float32
  timestep: wp.float32


@wp.func
def contact_force_vjp(
  elliptic: bool,
  r: float,
  v: vec6,
  a: vec6,
  lam: vec6,
  friction: vec5,
  solref: wp.vec2,
  solreffriction: wp.vec2,
  solimp: vec5,
  law: vec6,
  invweight: float,
  impratio_invsqrt: float,
  timestep: float,
  disableflags: int,
  condim: int,
  mode: int,
) -> ContactAdjoint:
  """Gradient of phi in the motion; `mode` is the set of active edges or the zone of the cone."""
  adj = ContactAdjoint()
  if elliptic and condim > 1:
    adj_r, adj_v, adj_a, adj_lam, _fr, _ref, _rf, _imp, _law, _w, _i, _t, _f, _c, _m = wp.grad(
      elliptic_term
    )(
      r,
      v,
      a,
      lam,
      friction,
      solref,
      solreffriction,
      solimp,
      law,
      invweight,
      impratio_invsqrt,
      timestep,
      disableflags,
      condim,
      mode,
    )
    adj.r = adj_r
    adj.v = adj_v
    adj.a = adj_a
    adj.lam = adj_lam
  else:
    adj_r, adj_v, adj_a, adj_lam, _fr, _ref, _rf, _imp, _law, _w, _i, _t, _f, _c, _m = wp.grad(
      pyramidal_term
    )(
      r,
      v,
      a,
      lam,
      friction,
      solref,
      solreffriction,
      solimp,
      law,
      invweight,
      impratio_invsqrt,
      timestep,
      disableflags,
      condim,
      mode,
    )
    adj.r = adj_r
    adj.v = adj_v
    adj.a = adj_a
    adj.lam = adj_lam
  return adj


@wp.func
def contact_material_vjp(
  elliptic: bool,
  r: float,
  v: vec6,
  a: vec6,
  lam: vec6,
  friction: vec5,
  solref: wp.vec2,
  solreffriction: wp.vec2,
  solimp: vec5,
  law: vec6,
  invweight: float,
  impratio_invsqrt: float,
  timestep: float,
  disableflags: int,
  condim: int,
  mode: int,
) -> MaterialAdjoint:
  """Gradient of phi in the parameters; `mode` as in `contact_force_vjp`."""
  adj = MaterialAdjoint()
  if elliptic and condim > 1:
    (
      adj_r,
      _v,
      _a,
      _l,
      adj_friction,
      adj_solref,
      adj_solreffriction,
      adj_solimp,
      _law,
      adj_invweight,
      adj_impratio_invsqrt,
      adj_timestep,
      _f,
      _c,
      _m,
    ) = wp.grad(elliptic_term)(
      r,
      v,
      a,
      lam,
      friction,
      solref,
      solreffriction,
      solimp,
      law,
      invweight,
      impratio_invsqrt,
      timestep,
      disableflags,
      condim,
      mode,
    )
    adj.r = adj_r
    adj.friction = adj_friction
    adj.solref = adj_solref
    adj.solreffriction = adj_solreffriction
    adj.solimp = adj_solimp
    adj.invweight = adj_invweight
    adj.impratio_invsqrt = adj_impratio_invsqrt
    adj.timestep = adj_timestep
  else:
    (
      adj_r,
      _v,
      _a,
      _l,
      adj_friction,
      adj_solref,
      adj_solreffriction,
      adj_solimp,
      _law,
      adj_invweight,
      adj_impratio_invsqrt,
      adj_timestep,
      _f,
      _c,
      _m,
    ) = wp.grad(pyramidal_term)(
      r,
      v,
      a,
      lam,
      friction,
      solref,
      solreffriction,
      solimp,
      law,
      invweight,
      impratio_invsqrt,
      timestep,
      disableflags,
      condim,
      mode,
    )
    adj.r = adj_r
    adj.friction = adj_friction
    adj.solref = adj_solref
    adj.solreffriction = adj_solreffriction
    adj.solimp = adj_solimp
    adj.invweight = adj_invweight
    adj.impratio_invsqrt = adj_impratio_invsqrt
    adj.timestep = adj_timestep
  return adj

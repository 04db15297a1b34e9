"""Actuator transmissions: the length and the rates of what an actuator pulls on.

Along each generalised direction w in {v, lam, a, mu, e} an actuator has the rate

    rate^w = m . x_w,    m the engine's sparse row `actuator_moment`, gear included

where m counts along lam only at dofs whose total actuator force is not held by a limit
(terms/force_limit.py). The actuator's law (terms/actuator.py, terms/dcmotor.py) is a function of
the length and the rates; it leaves their cotangents in `adj_length` and `adj_rate`, and every kind
of transmission carries them on in a file of its own, and `Actuation.direction` as a further
direction with the cotangent 1 (terms/actuator_direction.py):

    joint, jointinparent   terms/transmission_joint.py      to coordinates
    tendon                 terms/transmission_tendon.py     to the tendon
    site, with refsite     terms/transmission_site.py       to bodies
    slider-crank           terms/transmission_crank.py      to bodies
    body (adhesion)        terms/transmission_body.py       to bodies and contacts

Source: MuJoCo documentation, Computation, "Actuation model" (transmission).
"""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def rate_cotangent(
  worldid: int, actid: int, w: int, nrate: int, adj_rate_in: wp.array3d[float]
) -> float:
  """Cotangent of the rate along one of `nrate` directions, or along the actuator's own."""
  if w < nrate:
    return adj_rate_in[worldid, actid, w]
  return 1.0


@wp.func
def moment_dot(
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  x: wp.array2d[float],
  worldid: int,
  actid: int,
) -> float:
  """m . x of one actuator."""
  rate = float(0.0)
  first = moment_rowadr_in[worldid, actid]
  for k in range(first, first + moment_rownnz_in[worldid, actid]):
    rate += actuator_moment_in[worldid, k] * x[worldid, moment_colind_in[worldid, k]]
  return rate


@wp.func
def moment_dot_free(
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  x: wp.array2d[float],
  dof_free: wp.array2d[float],
  worldid: int,
  actid: int,
) -> float:
  """m . x of one actuator over the dofs that no limit holds."""
  rate = float(0.0)
  first = moment_rowadr_in[worldid, actid]
  for k in range(first, first + moment_rownnz_in[worldid, actid]):
    dofid = moment_colind_in[worldid, k]
    rate += actuator_moment_in[worldid, k] * x[worldid, dofid] * dof_free[worldid, dofid]
  return rate


@wp.func
def moment_product(
  M_elemid: wp.array2d[int],
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  x: wp.array2d[float],
  y: wp.array2d[float],
  z: wp.array2d[float],
  worldid: int,
  actid: int,
) -> float:
  """x^T (m m^T) (y + z), restricted to the pattern of the inertia matrix."""
  total = float(0.0)
  first = moment_rowadr_in[worldid, actid]
  last = first + moment_rownnz_in[worldid, actid]
  for k in range(first, last):
    i = moment_colind_in[worldid, k]
    rate = float(0.0)
    for n in range(first, last):
      j = moment_colind_in[worldid, n]
      if M_elemid[wp.max(i, j), wp.min(i, j)] >= 0:
        rate += actuator_moment_in[worldid, n] * (y[worldid, j] + z[worldid, j])
    total += actuator_moment_in[worldid, k] * x[worldid, i] * rate
  return total


@wp.func
def squared_moment(
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  weight: wp.array2d[float],
  worldid: int,
  actid: int,
) -> float:
  """sum_c weight_c m_c^2 of one actuator."""
  total = float(0.0)
  first = moment_rowadr_in[worldid, actid]
  for k in range(first, first + moment_rownnz_in[worldid, actid]):
    m = actuator_moment_in[worldid, k]
    total += weight[worldid, moment_colind_in[worldid, k]] * m * m
  return total


@wp.func
def implicit_rates(
  M_elemid: wp.array2d[int],
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  mu: wp.array2d[float],
  qacc: wp.array2d[float],
  delta: wp.array2d[float],
  worldid: int,
  actid: int,
) -> wp.vec3:
  """Rates along mu and a_d = a + e, and what the implicit integrator keeps of their product."""
  rate_mu = moment_dot(
    moment_rownnz_in, moment_rowadr_in, moment_colind_in, actuator_moment_in, mu, worldid, actid
  )
  rate_acc = moment_dot(
    moment_rownnz_in, moment_rowadr_in, moment_colind_in, actuator_moment_in, qacc, worldid, actid
  )
  rate_acc += moment_dot(
    moment_rownnz_in, moment_rowadr_in, moment_colind_in, actuator_moment_in, delta, worldid, actid
  )
  product = moment_product(
    M_elemid,
    moment_rownnz_in,
    moment_rowadr_in,
    moment_colind_in,
    actuator_moment_in,
    mu,
    qacc,
    delta,
    worldid,
    actid,
  )
  return wp.vec3(rate_mu, rate_acc, product)

"""Dynamics with contacts from distance in float64, without the engine: a dense solve in NumPy.

C MuJoCo gives positions, contacts, smooth forces and the rows that are not contacts. The rows of
contacts, their impedance and reference acceleration are built here, and the root of

    M (a - a_smooth) = J^T f(J a - aref)

is found with Newton's method on the convex cost, f being differenced contact by contact.
"""

import copy
from collections.abc import Sequence

import mujoco
import numpy as np

from mjgrad import ContactsFromDistance
from tests.oracles import Point

_DISABLE = mujoco.mjtDisableBit


def spline(dmin: float, dmax: float, width: float, mid: float, power: float, x: float) -> float:
  """MuJoCo's impedance at x from dmin."""
  x = min(abs(x) / width, 1.0)
  mid = min(mid, mujoco.mjMAXIMP)
  if x <= mid:
    y = x**power / mid ** (power - 1.0)
  else:
    y = 1.0 - (1.0 - x) ** power / (1.0 - mid) ** (power - 1.0)
  return dmin + y * (dmax - dmin)


class Surrogate:
  """The acceleration that the backward pass differentiates, at any point.

  Args:
    mjm: the model; parameters are changed in `self.mjm`, a copy.
    far: how contacts act from a distance.
  """

  def __init__(self, mjm: mujoco.MjModel, far: ContactsFromDistance):
    self.mjm, self.far = copy.copy(mjm), far
    self.mjm.geom_gap[:] += 0.5 * far.width
    self.mjm.pair_gap[:] += far.width
    self.mjm.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    self.mjd = mujoco.MjData(self.mjm)
    self.law = far.law()
    named = None
    if far.pairs is not None:
      named = [frozenset(mjm.geom(g).id for g in pair) for pair in far.pairs]
    self.named = named

  def acceleration(self, point: Point) -> np.ndarray:
    """qacc at a point, and at `self.distance` the distances r of all contacts with rows."""
    mjm, mjd = self.mjm, self.mjd
    mjd.qpos[:], mjd.qvel[:], mjd.ctrl[:] = point.qpos, point.qvel, point.ctrl
    mjd.qfrc_applied[:], mjd.xfrc_applied[:] = point.qfrc_applied, point.xfrc_applied
    mjd.qacc_warmstart[:] = 0.0
    mujoco.mj_forward(mjm, mjd)
    self.mass = np.zeros((mjm.nv, mjm.nv))
    mujoco.mj_fullM(mjm, mjd, self.mass)
    blocks = [*self._other_rows(), *self._contacts()]
    return self._solve(blocks)

  def velocity(self, point: Point) -> np.ndarray:
    """v + h a_d, with the implicit damping of joints where the model has it."""
    a = self.acceleration(point)
    h, flags = self.mjm.opt.timestep, self.mjm.opt.disableflags
    if self.mjm.dof_damping.any() and not flags & int(_DISABLE.mjDSBL_EULERDAMP):
      a = np.linalg.solve(self.mass + h * np.diag(self.mjm.dof_damping), self.mass @ a)
    return point.qvel + h * a

  def _other_rows(self):
    """Rows of joint limits and equalities, as blocks of one row."""
    mjd, kinds = self.mjd, mujoco.mjtConstraint
    rows = np.zeros((mjd.nefc, self.mjm.nv))
    if mjd.nefc:
      rows = mjd.efc_J.reshape(mjd.nefc, self.mjm.nv)
    for i in range(mjd.nefc):
      equality = mjd.efc_type[i] == int(kinds.mjCNSTR_EQUALITY)
      if equality or mjd.efc_type[i] == int(kinds.mjCNSTR_LIMIT_JOINT):
        block = slice(i, i + 1)
        yield rows[block], mjd.efc_aref[block], self._quadratic(mjd.efc_D[block], equality)

  @staticmethod
  def _quadratic(d: np.ndarray, both_sides: bool = False):
    return lambda y: -d * (y if both_sides else np.minimum(y, 0.0))

  def _contacts(self):
    """Rows of contacts, one block for each: J, aref and the force as a function of J a - aref."""
    self.distance = []
    for contact in self.mjd.contact:
      selected = self.named is None or frozenset(contact.geom.tolist()) in self.named
      r = contact.dist - contact.includemargin
      if r >= (self.law[2] if selected else 0.0):
        continue
      self.distance.append(r)
      yield self._contact(contact, r, self.law if selected else (0.0,) * 6)

  def _contact(self, contact, r: float, law: Sequence[float]):
    mjm, mjd = self.mjm, self.mjd
    bodies = mjm.geom_bodyid[contact.geom]
    motion = np.zeros((6, mjm.nv))
    for body, sign in zip(bodies, (-1.0, 1.0), strict=True):
      linear, angular = np.zeros((3, mjm.nv)), np.zeros((3, mjm.nv))
      mujoco.mj_jac(mjm, mjd, linear, angular, contact.pos, body)
      motion[:3] += sign * linear
      motion[3:] += sign * angular
    frame = contact.frame.reshape(3, 3)
    motion = np.concatenate([frame @ motion[:3], frame @ motion[3:]])
    d_c, d_0, width, mid, power, softplus = law
    imp = contact.solimp
    d = spline(imp[0], imp[1], imp[2], imp[3], imp[4], r)
    if r > 0.0:
      d = spline(d_c, d_0, width, mid, power, width - r)
    depth = np.logaddexp(0.0, -r / softplus) * softplus if softplus > 0 else max(-r, 0.0)
    timeconst, ratio = contact.solref
    if not mjm.opt.disableflags & int(_DISABLE.mjDSBL_REFSAFE):
      timeconst = max(timeconst, 2.0 * mjm.opt.timestep)
    k, b = 1.0 / (imp[1] * timeconst * ratio) ** 2, 2.0 / (imp[1] * timeconst)
    slide = b
    weight = mjm.body_invweight0[bodies, 0].sum()
    dim, mu = contact.dim, contact.friction
    if mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_DISCRETE:
      h = mjm.opt.timestep
      assert h * h * k * d < 1.0
      count = 1.0 + h * b + h * h * k * d
      slide, b, k = b / (1.0 + h * b), (b + h * k * d) / count, k / count
      weight /= count
    spring = k * d * depth
    if dim == 1:
      row = motion[:1]
      force = self._quadratic(np.array([d / ((1.0 - d) * weight)]))
      return row, -b * row @ mjd.qvel + spring, force
    if mjm.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL:
      edges = [motion[0] + s * mu[i] * motion[1 + i] for i in range(dim - 1) for s in (1.0, -1.0)]
      row = np.array(edges)
      weight *= (1.0 + mu[0] ** 2) * 2.0 * mu[0] ** 2 / mjm.opt.impratio
      force = self._quadratic(np.full(len(row), d / ((1.0 - d) * weight)))
      return row, -b * row @ mjd.qvel + spring, force
    row = motion[:dim]
    aref = -slide * row @ mjd.qvel
    aref[0] = -b * row[0] @ mjd.qvel + spring
    return row, aref, self._cone(d / ((1.0 - d) * weight), mu[: dim - 1])

  def _cone(self, d0: float, friction: np.ndarray):
    """The force of an elliptic cone: minus the gradient of half the squared distance to it."""
    mu = friction[0] / np.sqrt(self.mjm.opt.impratio)
    scale = np.concatenate([[mu], friction])

    def force(y: np.ndarray) -> np.ndarray:
      u = scale * y
      n, t = u[0], np.linalg.norm(u[1:])
      if n >= mu * t:
        return np.zeros_like(y)
      if mu * n + t <= 0.0:
        return -d0 * (scale / mu) ** 2 * y
      dm = d0 / (mu**2 * (1.0 + mu**2))
      return -dm * (n - mu * t) * scale * np.concatenate([[1.0], -mu * u[1:] / t])

    return force

  def _solve(self, blocks) -> np.ndarray:
    mass, a = self.mass, self.mjd.qacc.copy()
    smooth = self.mjd.qfrc_smooth

    def residual(a: np.ndarray) -> np.ndarray:
      total = mass @ a - smooth
      for jacobian, aref, force in blocks:
        total -= jacobian.T @ force(jacobian @ a - aref)
      return total

    scale = np.linalg.norm(smooth) + np.linalg.norm(mass @ a) + 1e-3
    for _ in range(200):
      r = residual(a)
      if np.linalg.norm(r) <= 1e-12 * scale:
        break
      hessian = mass.copy()
      for jacobian, aref, force in blocks:
        y = jacobian @ a - aref
        h = 1e-6 * (np.linalg.norm(y) + 1e-6)
        slope = [(force(y + e) - force(y - e)) / (2 * h) for e in h * np.eye(len(y))]
        hessian -= jacobian.T @ np.array(slope).T @ jacobian
      step, size = np.linalg.solve(hessian, r), 1.0
      while np.dot(step, residual(a - size * step)) < -0.5 * np.dot(step, r) and size > 1e-6:
        size *= 0.5
      a = a - size * step
    else:
      raise AssertionError(f"no convergence: {np.linalg.norm(r)} of {scale}")
    return a

"""Seeded random mechanisms that mix every feature, for the search for silent wrong gradients.

`random_mechanism(seed)` draws trees of bodies on all joints, geoms of all shapes, tendons of all
paths and laws, equalities, actuators of all kinds, passive forces, cones, solvers and integrators.
What mjgrad refuses is drawn as well: a refusal by name is a right answer. The number of degrees of
freedom is one of a few, because kernels are compiled for each.
"""

import mujoco
import numpy as np

SIZES = (4, 6, 7, 9, 12, 16)
DOFS = {"free": 6, "ball": 3, "hinge": 1, "slide": 1}
INTEGRATORS = ("Euler", "Euler", "Euler", "implicitfast", "implicit", "RK4")
SHAPES = {
  "sphere": 'type="sphere" size="{a:.4g}"',
  "capsule": 'type="capsule" size="{b:.4g} {a:.4g}"',
  "ellipsoid": 'type="ellipsoid" size="{a:.4g} {c:.4g} {b:.4g}"',
  "cylinder": 'type="cylinder" size="{c:.4g} {a:.4g}"',
  "box": 'type="box" size="{a:.4g} {c:.4g} {b:.4g}"',
  "mesh": 'type="mesh" mesh="rock"',
}
ACTUATORS = {
  "motor": 'gear="{g}"',
  "position": 'kp="6" kv="0.3" gear="{g}"',
  "velocity": 'kv="0.4" gear="{g}"',
  "damper": 'kv="0.4" ctrlrange="0 1"',
  "intvelocity": 'kp="4" actrange="-0.6 0.7"',
  "general": 'dyntype="filter" dynprm="0.05" gaintype="affine" gainprm="1 0.3 -0.1"'
  ' biastype="affine" biasprm="0.2 -2 -0.3"',
  "general exact": 'dyntype="filterexact" dynprm="0.02" gainprm="1.5" actearly="true"',
  "general integrator": 'dyntype="integrator" gainprm="2" actrange="-0.4 0.5"',
  "muscle": 'lengthrange="-1 2" force="6"',
  "cylinder": 'area="1.2" timeconst="0.04"',
  "dcmotor": 'motorconst="0.2" resistance="1.5"',
}


class Mechanism:
  """Draws one model; the order of the draws is the order of the methods in `xml`."""

  def __init__(self, seed: int):
    self.rng = np.random.default_rng(seed)
    self.seed = seed
    self.joints: list[tuple[str, str]] = []  # name, type
    self.parents: list[int] = []
    self.tendons: list[str] = []
    self.wraps: list[str] = []

  def chance(self, p: float) -> bool:
    return bool(self.rng.random() < p)

  def pick(self, values):
    return values[int(self.rng.integers(len(values)))]

  def numbers(self, low: float, high: float, count: int = 1) -> str:
    return " ".join(f"{v:.4g}" for v in self.rng.uniform(low, high, size=count))

  def joint(self, name: str, kind: str) -> str:
    if kind == "free":
      return f'<freejoint name="{name}"/>'
    damping = self.pick(("0.1", "0.3 0.1 0.05", "0.5"))
    stiffness = self.pick(("1", "3 0.4 0.2", "4"))
    text = f'damping="{damping}" stiffness="{stiffness}" springref="{self.numbers(-0.1, 0.1)}"'
    text += f' armature="{self.pick((0, 0.01, 0.03))}"'
    if self.chance(0.25):
      text += f' frictionloss="{self.numbers(0.02, 0.2)}"'
    if self.chance(0.4):
      limits = {"hinge": "-40 35", "slide": "-0.1 0.12", "ball": "0 45"}
      text += f' range="{limits[kind]}"'
    if kind != "ball":
      text += f' axis="{self.numbers(-1, 1, 3)}" pos="{self.numbers(-0.05, 0.05, 3)}"'
      if self.chance(0.1):
        text += ' actuatorfrcrange="-1 1.2"'
    return f'<joint name="{name}" type="{kind}" {text}/>'

  def geom(self, name: str) -> str:
    a, b, c = self.rng.uniform((0.07, 0.04, 0.05), (0.12, 0.06, 0.08))
    shape = SHAPES[self.shape(name)].format(a=a, b=b, c=c)
    friction = self.numbers(0.3, 1.2), self.numbers(0.005, 0.05), self.numbers(0.001, 0.02)
    text = f'condim="{self.pick((1, 3, 3, 4, 6))}" friction="{" ".join(friction)}"'
    if self.wet and self.chance(0.4):
      text += ' fluidshape="ellipsoid"'
    return f'<geom name="{name}" mass="{self.numbers(0.3, 1)}" {shape} {text}/>'

  def shape(self, name: str) -> str:
    return str(self.rng.choice(list(SHAPES), p=(0.3, 0.3, 0.1, 0.08, 0.12, 0.1)))

  def body(self, index: int, bodies: list[list[tuple[str, str]]]) -> str:
    root = self.parents[index] < 0
    if root:
      pos = f"{0.7 * index:.3g} {self.numbers(-0.2, 0.2)} {self.numbers(0.1, 0.4)}"
    else:
      pos = " ".join(f"{s * v:.3g}" for s, v in zip(self.signs(), self.rng.uniform(0.1, 0.2, 3)))
    attributes = f'pos="{pos}" euler="{self.numbers(-60, 60, 3)}"'
    if self.chance(0.15):
      attributes += f' gravcomp="{self.numbers(0.2, 1)}"'
    joints = "".join(self.joint(name, kind) for name, kind in bodies[index])
    children = "".join(self.body(i, bodies) for i in range(len(bodies)) if self.parents[i] == index)
    wrap = ""
    if self.chance(0.3):
      self.wraps.append(f"wrap{index}")
      shape = self.pick(('type="sphere" size="0.05"', 'type="cylinder" size="0.04 0.2"'))
      wrap = (
        f'<geom name="wrap{index}" {shape} contype="0" conaffinity="0" mass="0"'
        f' euler="{self.numbers(-90, 90, 3)}"/><site name="side{index}" pos="0.1 0.1 0"/>'
      )
    return f"""
    <body name="b{index}" {attributes}>
      {joints}
      {self.geom(f"g{index}")}{wrap}
      <site name="s{index}" pos="{self.numbers(-0.1, 0.1, 3)}" euler="{self.numbers(-90, 90, 3)}"/>
      {children}
    </body>"""

  def signs(self) -> np.ndarray:
    return self.rng.choice((-1.0, 1.0), size=3)

  def trees(self) -> str:
    """Bodies until the degrees of freedom are used up, each on one or two joints."""
    left = int(self.pick(SIZES))
    bodies: list[list[tuple[str, str]]] = []
    while left:
      root = not bodies or self.chance(0.25)
      kinds = ("free", "free") if root else ("hinge",)
      kinds += ("ball", "hinge", "slide")
      kind = self.pick([k for k in kinds if DOFS[k] <= left])
      chosen = [(f"j{len(self.joints)}", kind)]
      left -= DOFS[kind]
      if kind == "hinge" and left and self.chance(0.2):
        chosen.append((f"j{len(self.joints) + 1}", "hinge"))
        left -= 1
      self.joints += chosen
      self.parents.append(-1 if root else int(self.rng.integers(len(bodies))))
      bodies.append(chosen)
    return "".join(self.body(i, bodies) for i in range(len(bodies)) if self.parents[i] < 0)

  def scalar_joints(self) -> list[str]:
    return [name for name, kind in self.joints if kind in ("hinge", "slide")]

  def tendon_law(self, wraps: bool = False) -> str:
    laws = (
      'stiffness="15" springlength="0.1 0.3"',
      'stiffness="10 2 1"',
      'damping="0.5 0.1 0.1"',
      'frictionloss="0.2"',
      'range="0.05 0.4"',
      'armature="0.05"',
    )
    chosen = self.rng.permutation(len(laws) - wraps)[: int(self.rng.integers(1, 3))]
    springs = [i for i in chosen if i < 2]
    return " ".join(laws[i] for i in chosen if i not in springs[1:])

  def tendon(self) -> str:
    name = f"t{len(self.tendons)}"
    scalar = self.scalar_joints()
    self.tendons.append(name)
    if scalar and self.chance(0.4):
      parts = "".join(
        f'<joint joint="{j}" coef="{self.numbers(-1.5, 1.5)}"/>'
        for j in self.rng.permutation(scalar)[:3]
      )
      return f'<fixed name="{name}" {self.tendon_law()}>{parts}</fixed>'
    sites = ["anchor", *(f"s{i}" for i in range(len(self.parents)))]
    order = list(self.rng.permutation(sites))
    order = order[: max(2, int(self.rng.integers(2, 5)))]
    if len(order) < 2:
      order = ["anchor", "s0"]
    parts = f'<site site="{order[0]}"/>'
    for i, site in enumerate(order[1:]):
      if self.wraps and self.chance(0.4):
        geom = self.pick(self.wraps)
        side = f' sidesite="{geom.replace("wrap", "side")}"' if self.chance(0.5) else ""
        parts += f'<geom geom="{geom}"{side}/>'
      parts += f'<site site="{site}"/>'
      if i + 3 < len(order) and self.chance(0.2):
        parts += f'<pulley divisor="2"/><site site="{site}"/>'
    return f'<spatial name="{name}" {self.tendon_law("<geom" in parts)}>{parts}</spatial>'

  def equality(self) -> str:
    count = len(self.parents)
    soft = 'solref="0.05 1"'
    kinds = ["connect", "weld", "sites"]
    kinds += ["joint"] * (len(self.scalar_joints()) > 1) + ["tendon"] * (len(self.tendons) > 1)
    kind = self.pick(kinds)
    if kind == "joint":
      first, second = self.rng.permutation(self.scalar_joints())[:2]
      poly = self.numbers(-0.3, 0.3, 4)
      return f'<joint joint1="{first}" joint2="{second}" polycoef="0.05 {poly}" {soft}/>'
    if kind == "tendon":
      first, second = self.rng.permutation(self.tendons)[:2]
      return f'<tendon tendon1="{first}" tendon2="{second}" polycoef="0.05 0.4 0.2 0 0" {soft}/>'
    body = int(self.rng.integers(count))
    if kind == "sites":
      return f'<{self.pick(("connect", "weld"))} site1="s{body}" site2="anchor" {soft}/>'
    other = f' body2="b{(body + 1) % count}"' if count > 1 and self.chance(0.6) else ""
    return f'<{kind} body1="b{body}"{other} anchor="{self.numbers(-0.1, 0.1, 3)}" {soft}/>'

  def actuator(self) -> str:
    kind = self.pick(list(ACTUATORS))
    where = self.pick(("joint", "joint", "joint", "tendon", "site", "crank", "body"))
    gear = self.numbers(0.4, 1.5)
    text = ACTUATORS[kind].format(g=gear)
    if where == "tendon" and self.tendons:
      target = f'tendon="{self.pick(self.tendons)}"'
    elif where == "site" and kind != "muscle":
      target = f'site="s{int(self.rng.integers(len(self.parents)))}"'
      if self.chance(0.5):
        target += ' refsite="anchor"'
      text = text.replace(f'gear="{gear}"', f'gear="{self.numbers(-1, 1, 6)}"')
    elif where == "crank" and kind != "muscle" and self.chance(0.5):
      target = 'cranksite="s0" slidersite="anchor" cranklength="1.5"'
    elif where == "body" and self.chance(0.5):
      body = int(self.rng.integers(len(self.parents)))
      return f'<adhesion body="b{body}" ctrlrange="0 1" gain="2"/>'
    else:
      name, joint = self.pick(self.joints)
      target = f'{self.pick(("joint", "jointinparent"))}="{name}"'
      if joint in ("ball", "free"):
        count = DOFS[joint]
        text = text.replace(f'gear="{gear}"', f'gear="{self.numbers(-1, 1, count)}"')
    if self.chance(0.3) and kind not in ("damper", "dcmotor", "muscle"):
      text += ' ctrlrange="-0.8 0.7"'
    if self.chance(0.3) and kind != "dcmotor":
      text += ' forcerange="-1.5 1.2"'
    if self.chance(0.1) and target.split("=")[0] in ("joint", "jointinparent", "tendon"):
      text += ' armature="0.01" damping="0.05"'
    return f"<{kind.split()[0]} {target} {text}/>"

  def xml(self) -> str:
    rng = self.rng
    self.wet = self.chance(0.15)
    option = f'timestep="{self.pick((0.002, 0.004))}" integrator="{self.pick(INTEGRATORS)}"'
    option += f' cone="{self.pick(("pyramidal", "elliptic"))}"'
    option += f' solver="{self.pick(("Newton", "Newton", "CG"))}"'
    option += f' jacobian="{self.pick(("dense", "sparse", "auto"))}"'
    if self.wet:
      option += f' density="{self.numbers(1, 100)}" viscosity="{self.numbers(0.1, 1)}"'
      option += ' wind="0.5 0 -0.3"'
    flags = 'eulerdamp="disable"' if self.chance(0.25) else ""
    contact = self.chance(0.6)
    among = contact and self.chance(0.4)
    geoms = f'contype="{int(among)}" conaffinity="{int(contact)}"'
    trees = self.trees()
    tendons = "".join(self.tendon() for _ in range(int(rng.integers(0, 3))))
    equalities = self.equality() if self.chance(0.35) else ""
    actuators = "".join(self.actuator() for _ in range(int(rng.integers(0, 4))))
    return f"""
<mujoco model="mechanism {self.seed}">
  <compiler autolimits="true"/>
  <option {option}><flag {flags}/></option>
  <default><geom {geoms}/></default>
  <asset>
    <mesh name="rock" vertex="0 0 0.1  0.1 0 -0.05  -0.1 0.1 -0.05  -0.1 -0.1 -0.05
                              0.05 0.12 0.03"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1" friction="0.8 0.02 0.01" contype="1"/>
    <site name="anchor" pos="0.3 0.4 0.6"/>
    {trees}
  </worldbody>
  <tendon>{tendons}</tendon>
  <equality>{equalities}</equality>
  <actuator>{actuators}</actuator>
</mujoco>
"""


def random_mechanism(seed: int) -> mujoco.MjModel:
  """A random model; the same seed gives the same model.

  Raises:
    ValueError: MuJoCo does not compile it, for example because of a limit on combinations.
  """
  return mujoco.MjModel.from_xml_string(Mechanism(seed).xml())

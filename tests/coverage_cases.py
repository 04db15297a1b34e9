"""What the coverage page measures, as data: for every feature a small model that uses it.

`python -m benchmarks.coverage` checks each of them and writes docs/coverage.md, and
`tests/test_coverage.py` holds the page to this table. A case names the channels that prove that its
feature acts: their gradient must not vanish at every state. Features that are not differentiated
stay in the table, and on the page with the reason that `UnsupportedFeature` gives.
"""

import itertools
from dataclasses import dataclass

import mujoco

from tests.coverage_models import SHAPES
from tests.coverage_models import contact
from tests.coverage_models import path
from tests.coverage_models import rig


@dataclass(frozen=True)
class Case:
  """A feature.

  Attributes:
    group: heading on the page
    feature: name on the page, unique within the group
    xml: a model that uses it
    shows: channels whose gradient must not vanish everywhere
  """

  group: str
  feature: str
  xml: str
  shows: tuple[str, ...] = ("qpos",)

  @property
  def median(self) -> float:
    """Bar for the median error of every channel, beside those of `mjgrad check`."""
    return 1e-3 if self.group == "Contacts" else 0.0

  @property
  def name(self) -> str:
    return f"{self.group}: {self.feature}"

  def load(self) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(self.xml)


def _joints() -> list[Case]:
  spring = 'stiffness="{} 0.4 0.2" springref="0.1"'
  damper = 'damping="0.3 0.1 0.05"'
  every = {"hinge": 3, "slide": 60, "ball": 2, "last": 2}
  soft = 'solimplimit="0.5 0.95 0.1 0.4 2.5"'
  limits = {
    "hinge": f'range="-20 30" {soft}',
    "slide": f'range="-0.05 0.1" {soft}',
    "ball": f'range="0 25" {soft}',
  }
  return [
    Case("Joints", "hinge, slide, ball", rig(), ("qpos", "body_mass", "body_inertia")),
    Case(
      "Joints", "free", contact("plane", "sphere", flags='contact="disable"'), ("body_inertia",)
    ),
    Case("Joints", "armature", rig(**dict.fromkeys(every, 'armature="0.05"')), ("dof_armature",)),
    Case(
      "Joints",
      "springs with polynomial stiffness",
      rig(**{joint: spring.format(k) for joint, k in every.items()}),
      ("jnt_stiffness", "jnt_stiffnesspoly", "qpos_spring"),
    ),
    Case(
      "Joints",
      "dampers with polynomial damping",
      rig(**dict.fromkeys(every, damper)),
      ("dof_damping", "dof_dampingpoly"),
    ),
    Case(
      "Joints",
      "friction loss",
      rig(**dict.fromkeys(every, 'frictionloss="0.3"')),
      ("dof_frictionloss", "dof_solref", "dof_solimp"),
    ),
    *(
      Case(
        "Joints",
        f"limit of a {joint}",
        rig(**{joint: limits[joint]}),
        ("jnt_range", "jnt_solref", "jnt_solimp"),
      )
      for joint in limits
    ),
    Case("Joints", "plastic springs", rig(hinge='stiffness="3" springyield="1"')),
  ]


SPRUNG = {
  "hinge": 'damping="0.4 0.1 0.1" armature="0.01"',
  "slide": 'damping="2 0.3 0.2"',
  "ball": 'damping="0.2"',
  "actuator": '<general joint="hinge" gaintype="affine" gainprm="2 0.5 -0.3" biastype="affine"'
  ' biasprm="0.4 -3 -0.5"/><position joint="slide" kp="60" kv="4"/>',
}


EQUALITIES = {
  "connect": '<connect body1="fourth" body2="trolley" anchor="0.1 0 0.05"/>',
  "connect to the world": '<connect body1="fourth" anchor="0.1 0 0.05"/>',
  "connect of sites": '<connect site1="tip" site2="rail"/>',
  "weld": '<weld body1="fourth" body2="trolley" anchor="0.1 0 0.05" torquescale="0.7"/>',
  "weld of sites": '<weld site1="tip" site2="rail" torquescale="1.3"/>',
  "joint polynomial": '<joint joint1="hinge" joint2="last" polycoef="0.1 0.5 0.3 -0.2 0.4"/>',
  "one joint": '<joint joint1="slide" polycoef="0.05 0 0 0 0"/>',
  "tendon polynomial": '<tendon tendon1="rope" tendon2="gear" polycoef="0.1 0.5 0.3 0 0"/>',
}
ROPE_WITH_LIMIT = (
  '<spatial range="0.05 0.3" stiffness="20"><site site="w"/><site site="b"/><site site="tip"/>'
  "</spatial>"
)
WET = 'density="200" viscosity="2" wind="0.5 -0.3 0.2"'


def _options() -> list[Case]:
  rolling = {"tumble": "0.2 0.1"}
  cases = [
    Case("Integrators", "Euler, implicit damping", rig(**SPRUNG), ("dof_damping",)),
    Case(
      "Integrators",
      "Euler, explicit damping",
      rig(**SPRUNG, flags='contact="disable" eulerdamp="disable"'),
      ("dof_damping",),
    ),
    *(
      Case(
        "Integrators",
        integrator,
        rig(**SPRUNG, option=f'integrator="{integrator}"'),
        ("dof_damping", "actuator_biasprm"),
      )
      for integrator in ("implicitfast", "implicit", "RK4")
    ),
    *(
      Case(
        "Integrators",
        f"{integrator}, lone free body",
        contact("plane", "box", option=f'integrator="{integrator}"'),
      )
      for integrator in ("implicitfast", "implicit", "RK4")
    ),
    Case(
      "Integrators",
      "discrete",
      rig(**SPRUNG, option='integrator="discrete"')
      if hasattr(mujoco.mjtIntegrator, "mjINT_DISCRETE")
      else rig(),
    ),
    Case(
      "Integrators",
      "discrete, contacts",
      contact("plane", "box", option='integrator="discrete"')
      if hasattr(mujoco.mjtIntegrator, "mjINT_DISCRETE")
      else rig(),
    ),
    *(
      Case(
        "Integrators",
        f"discrete, {name}",
        rig(**SPRUNG, **sections, option=f'integrator="discrete" {fluid}'),
        shows,
      )
      for name, sections, fluid, shows in (
        ("weld", {"equality": EQUALITIES["weld"]}, "", ("eq_data",)),
        ("limits", {"tendon": ROPE_WITH_LIMIT, "last": 'range="-0.1 0.1"'}, "", ("tendon_range",)),
        ("friction loss and a fluid", {"last": 'frictionloss="0.2"'}, WET, ("opt.density",)),
      )
    ),
    *(
      Case(
        "Solvers",
        f"{solver}, {cone} cone",
        contact("plane", "capsule", option=f'solver="{solver}" cone="{cone}"', **rolling),
        ("geom_friction",),
      )
      for solver, cone in itertools.product(("Newton", "CG"), ("pyramidal", "elliptic"))
    ),
    Case("Solvers", "PGS", contact("plane", "capsule", option='solver="PGS"')),
    Case("Solvers", "noslip", contact("plane", "capsule", option='noslip_iterations="3"')),
    *(
      Case(
        "Solvers",
        f"condim {condim}, {cone} cone",
        contact("plane", "capsule", condim=condim, option=f'cone="{cone}"', **rolling),
      )
      for condim, cone in itertools.product((1, 3, 4, 6), ("pyramidal", "elliptic"))
    ),
  ]
  return [case for case in cases if case.feature != "discrete" or "discrete" in case.xml]


ACTUATORS = {
  "motor": '<motor joint="hinge" gear="3"/>',
  "position servo": '<position joint="hinge" kp="6" kv="0.4"/>',
  "velocity servo": '<velocity joint="slide" kv="2"/>',
  "damper": '<damper joint="hinge" kv="1.5" ctrlrange="0 1"/>',
  "cylinder": '<cylinder joint="slide" area="2" timeconst="0.05"/>',
  "integrated velocity": '<intvelocity joint="hinge" kp="6" actrange="-1 1"/>',
  "affine gain and bias": '<general joint="hinge" gaintype="affine" gainprm="2 0.5 -0.3"'
  ' biastype="affine" biasprm="0.4 -3 -0.5"/>',
  "muscle": '<muscle joint="hinge" lengthrange="-2 2" force="5"/>',
  "muscle of a scale": '<muscle joint="hinge" lengthrange="-2 2" scale="60"/>',
  "muscle with a smoothing width": '<muscle joint="hinge" lengthrange="-2 2" force="5"'
  ' tausmooth="0.3"/>',
  "integrator": '<general joint="slide" dyntype="integrator" gainprm="20" actrange="-0.3 0.4"/>',
  "filter": '<general joint="hinge" dyntype="filter" dynprm="0.05" gainprm="3"/>',
  "exact filter": '<general joint="hinge" dyntype="filterexact" dynprm="0.01" gainprm="2"/>',
  "early activation": '<general joint="hinge" dyntype="filter" dynprm="0.05" gainprm="3"'
  ' actearly="true"/>',
  "DC motor": '<dcmotor joint="hinge" motorconst="0.5" resistance="2"/>',
  "DC motor with inductance": '<dcmotor joint="hinge" motorconst="0.5" resistance="2" '
  'inductance="0.05"/>',
  "on a ball": '<motor joint="ball" gear="0.5 0.2 1"/>',
  "on a joint, in the parent": '<motor jointinparent="ball" gear="0.5 0.2 1"/>',
  "servo on a ball": '<position joint="ball" gear="0.5 0.2 1" kp="4"/>',
  "on a tendon": '<position tendon="rope" kp="20" kv="1"/>',
  "at a site": '<motor site="tip" gear="1 0.5 0 0.2 0 0.3"/>',
  "at a site, with a reference site": '<position site="tip" refsite="w" kp="5"'
  ' gear="1 0.5 0 0.2 0 0.3"/>',
  "slider-crank": '<motor cranksite="tip" slidersite="rail" cranklength="1.2"/>',
  "control clamp": '<motor joint="hinge" gear="3" ctrlrange="-0.5 0.4"/>',
  "force clamp": '<position joint="hinge" kp="3" forcerange="-1.5 2"/>'
  '<position joint="slide" kp="60" forcerange="-50 60"/>',
  "armature and damping": '<motor joint="hinge" gear="3" armature="0.02" damping="0.1 0.05"/>',
  "SO3 servo": '<general joint="ball" gaintype="so3" biastype="so3" gainprm="4"'
  ' biasprm="0 -4 -0.3"/>',
}
DELAY = '<motor joint="hinge" gear="3" delay="0.0113" nsample="4" interp="{}"/>'
TENDON = '<spatial name="rope"><site site="w"/><site site="b"/><site site="tip"/></spatial>'


def _actuators() -> list[Case]:
  return [
    *(
      Case("Actuators", name, rig(actuator=xml, tendon=TENDON), ("ctrl",))
      for name, xml in ACTUATORS.items()
    ),
    *(
      Case("Actuators", f"delay, {interp}", rig(actuator=DELAY.format(interp)), ("history",))
      for interp in ("zoh", "linear", "cubic")
    ),
    Case(
      "Actuators",
      "disabled groups",
      rig(
        option='actuatorgroupdisable="2"',
        actuator='<motor joint="hinge" gear="3"/><position joint="slide" kp="60" group="2"/>',
      ),
      ("ctrl",),
    ),
    Case(
      "Actuators",
      "limit of a joint's total force",
      rig(hinge='actuatorfrcrange="-1 1.5"', actuator='<position joint="hinge" kp="6"/>'),
      ("ctrl", "jnt_actfrcrange"),
    ),
    Case(
      "Actuators",
      "limit of a tendon's total force",
      rig(
        tendon=TENDON.replace("<spatial", '<spatial actuatorfrcrange="-1 1.5"'),
        actuator='<position tendon="rope" kp="3"/><motor joint="slide" gear="5"/>',
      ),
      ("ctrl",),
    ),
    Case(
      "Actuators",
      "gravity compensation through the actuators",
      rig(
        bodies='gravcomp="0.8"',
        hinge='actuatorgravcomp="true" actuatorfrcrange="-3 3"',
        actuator='<motor joint="hinge"/>',
      ),
      ("ctrl",),
    ),
    Case(
      "Actuators",
      "adhesion of a body",
      contact("plane", "sphere", actuator='<adhesion body="second" ctrlrange="0 1" gain="3"/>'),
      ("ctrl",),
    ),
  ]


PATHS = {
  "sites": ("w", "b", "tip"),
  "pulley": ("w", "a", "2", "b", "tip"),
  "wrap around a cylinder": ("w", "post", "a"),
  "wrap around a sphere": ("b", "globe", "tip"),
  "wrap with a side site": ("w", "post:side_post", "b", "globe:side_globe", "tip"),
  "wrap inside a sphere": ("b", "globe:inner_globe", "tip"),
}
JOINTS = '<joint joint="hinge" coef="0.5"/><joint joint="slide" coef="2"/>'
LAWS = {
  "springs with polynomial stiffness": (
    'stiffness="30 4 3" springlength="0.2"',
    "tendon_stiffness",
  ),
  "dead band of a spring": ('stiffness="30" springlength="0.1 0.4"', "tendon_lengthspring"),
  "dampers with polynomial damping": ('damping="2 0.5 0.3"', "tendon_dampingpoly"),
  "armature": ('armature="0.3"', "tendon_armature"),
  "friction loss": ('frictionloss="15"', "tendon_solref_fri"),
  "limits": ('range="0.05 0.3" solimplimit="0.5 0.95 0.1 0.4 2.5"', "tendon_range"),
}


def _tendons() -> list[Case]:
  return [
    Case("Tendons", "fixed", rig(tendon=f'<fixed stiffness="20">{JOINTS}</fixed>')),
    *(
      Case(
        "Tendons",
        name,
        rig(tendon=f'<spatial stiffness="30" damping="1">{path(*names)}</spatial>'),
        ("tendon_stiffness", "tendon_damping"),
      )
      for name, names in PATHS.items()
    ),
    *(
      Case("Tendons", name, rig(tendon=f"<fixed {law}>{JOINTS}</fixed>"), (shows,))
      for name, (law, shows) in LAWS.items()
    ),
    Case(
      "Tendons",
      "plastic springs",
      rig(tendon=f'<fixed stiffness="20" springyield="1">{JOINTS}</fixed>'),
    ),
  ]


def _equalities() -> list[Case]:
  tendon = TENDON + f'<fixed name="gear">{JOINTS}</fixed>'
  return [
    Case("Equalities", name, rig(equality=xml, tendon=tendon), ("eq_solref", "eq_solimp"))
    for name, xml in EQUALITIES.items()
  ]


def _forces() -> list[Case]:
  fin = '<geom type="ellipsoid" size="0.1 0.06 0.04" {} fluidshape="ellipsoid"/>'
  mocap = '<body name="hand" mocap="true" pos="0.3 0 -0.4"/>'
  return [
    Case("Forces", "gravity compensation", rig(bodies='gravcomp="0.7"'), ("body_gravcomp",)),
    Case("Forces", "applied forces and wrenches", rig(), ("qfrc_applied", "xfrc_applied")),
    Case(
      "Forces",
      "fluid, inertia boxes, wind",
      rig(option=WET),
      ("opt.wind", "opt.density", "opt.viscosity"),
    ),
    Case(
      "Forces",
      "fluid, ellipsoids, wind",
      rig(option=WET, inside=fin.format('pos="0 0.1 0"')),
      ("opt.wind", "opt.density", "opt.viscosity"),
    ),
    *(
      Case("Forces", f"fluid, {integrator}", rig(option=f'{WET} integrator="{integrator}"'))
      for integrator in ("implicitfast", "implicit", "RK4")
    ),
    Case("Forces", "mocap body", rig(world=mocap, equality='<weld body1="fourth" body2="hand"/>')),
  ]


PAIR = """<contact><pair geom1="first" geom2="second" friction="0.7 0.6 0.02 0.01 0.02"
  solreffriction="0.03 1"/></contact>"""


def _contacts() -> list[Case]:
  shapes = list(SHAPES)
  pairs = [
    (a, b)
    for a, b in itertools.combinations_with_replacement(shapes, 2)
    if b not in ("plane", "hfield")
  ]
  size = {"sphere", "capsule", "ellipsoid", "cylinder", "box"}
  return [
    *(
      Case(
        "Contacts",
        f"{a}, {b}",
        contact(a, b),
        ("geom_friction",) + ("geom_size",) * (b in size) + ("hfield_size",) * (a == "hfield"),
      )
      for a, b in pairs
    ),
    Case(
      "Contacts",
      "explicit pair",
      contact("plane", "capsule", section=PAIR, option='cone="elliptic"'),
      ("pair_friction", "pair_solref", "pair_solreffriction"),
    ),
    Case(
      "Contacts",
      "margin and gap",
      contact("plane", "capsule", geom='gap="0.001"'),
    ),
    Case(
      "Contacts",
      "solver parameters and mixing",
      contact("sphere", "capsule", geom='solmix="0.7"').replace(
        'name="second" f', 'name="second" solref="0.03 0.8" solimp="0.8 0.9 0.02" f'
      ),
      ("geom_solref", "geom_solimp", "geom_solmix"),
    ),
    Case("Contacts", "override", contact("plane", "capsule", flags='override="enable"')),
  ]


CASES = (
  *_joints(),
  *_actuators(),
  *_tendons(),
  *_equalities(),
  *_forces(),
  *_contacts(),
  *_options(),
)


@dataclass(frozen=True)
class Limit:
  """Parameters in which a case is not within the bars; in all other channels it is.

  Attributes:
    channels: which
    median: bar for the median of these
    worst: bar for the worst of these
    why: the reason
  """

  channels: tuple[str, ...]
  median: float
  worst: float
  why: str


_WITNESS = "witness points that the engine finds by iteration, in float32"
_WEIGHT = ("body_invweight0", "opt.impratio")
LIMITED = {
  "Joints: friction loss": Limit(
    ("dof_invweight0",), 1e-3, 5e-2, "a row that sticks moves less than float32 knows"
  ),
  "Contacts: hfield, ellipsoid": Limit(_WEIGHT, 1e-3, 2e-2, _WITNESS),
  "Contacts: sphere, ellipsoid": Limit(
    (*_WEIGHT, "geom_solimp", "geom_margin", "opt.timestep"), 2e-3, 2e-1, _WITNESS
  ),
  "Contacts: ellipsoid, cylinder": Limit(
    (*_WEIGHT, "geom_pos", "geom_quat", "geom_friction", "geom_solref", "geom_solimp"),
    1e-3,
    1e-1,
    _WITNESS,
  ),
  "Contacts: ellipsoid, box": Limit(
    ("body_inertia", "dof_damping", "dof_armature", "opt.timestep"), 1e-3, 5e-2, _WITNESS
  ),
  "Contacts: ellipsoid, mesh": Limit(_WEIGHT, 1e-3, 1e-1, _WITNESS),
}

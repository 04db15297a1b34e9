"""Models of any size: what a gradient costs as the number of dofs grows."""

import mujoco

_OPTION = '<option timestep="0.004" integrator="Euler"/>'


def chain(count: int) -> mujoco.MjModel:
  """A hanging chain of `count` hinges in turn about x and y, damped, with a motor each."""
  body, end, motors = "", "", ""
  for i in range(count):
    axis = "1 0 0" if i % 2 else "0 1 0"
    place = "0 0 0" if i == 0 else "0 0 -0.1"
    body += (
      f'<body pos="{place}"><joint name="j{i}" axis="{axis}" damping="0.01"/>'
      '<geom type="capsule" fromto="0 0 0 0 0 -0.1" size="0.02" contype="0" conaffinity="0"/>'
    )
    end += "</body>"
    motors += f'<motor joint="j{i}"/>'
  return mujoco.MjModel.from_xml_string(
    f"<mujoco>{_OPTION}<worldbody>{body}{end}</worldbody><actuator>{motors}</actuator></mujoco>"
  )


def heap(count: int) -> mujoco.MjModel:
  """`count` boxes on the ground in stacks of up to four, each stack beside the last."""
  boxes = ""
  for i in range(count):
    stack, level = divmod(i, 4)
    x, y = 0.3 * (stack % 4), 0.3 * (stack // 4)
    boxes += (
      f'<body pos="{x} {y} {0.051 + 0.101 * level}"><freejoint/>'
      '<geom type="box" size="0.05 0.05 0.05" mass="0.2"/></body>'
    )
  return mujoco.MjModel.from_xml_string(
    f'<mujoco>{_OPTION}<worldbody><geom type="plane" size="5 5 1"/>{boxes}</worldbody></mujoco>'
  )

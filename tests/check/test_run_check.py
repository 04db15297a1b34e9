"""The whole check, engine included, on small models; larger models are in the step tests."""

import json
import sys

import mujoco
import numpy as np
import pytest

from mjgrad._src import linearize
from mjgrad._src.check import command
from mjgrad._src.check import runner
from mjgrad._src.check.runner import PARAMETERS
from mjgrad._src.check.same_contacts import Contacts
from mjgrad._src.errors import NonFiniteGradient
from tests import models
from tests import oracles


def test_cartpole_passes(device):
  result = oracles.run_check(models.cartpole(), nstates=8, device=device)
  assert result.passed, result.to_text()
  kinds = ("tendon_", "pair_", "eq_", "site_", "mesh_", "hfield_")
  absent = {"act", "history", "mocap_pos", "mocap_quat"}
  absent |= {name for name in PARAMETERS if name.startswith(kinds)}
  absent.add("body_gravcomp")  # C MuJoCo cannot vary it in a model without any
  assert {c.channel for c in result.channels} == {*oracles.STATE_CHANNELS, *PARAMETERS} - absent
  assert result.differing == ()
  assert result.channel("qpos").worst < 1e-4


def test_activations_are_a_channel(device):
  result = oracles.run_check(models.load(models.STATEFUL), nstates=12, params=(), device=device)
  assert result.passed, result.to_text()
  assert result.channel("act").worst < 1e-4
  assert any("act_clamp" in state.labels for state in result.states)


def test_a_choice_of_entries(monkeypatch, device):
  """The entries with a large gradient are among them, and a mistake in one of them is found."""
  mjm = models.cartpole()
  result = oracles.run_check(mjm, nstates=4, params=("actuator_gainprm",), device=device, entries=2)
  assert result.passed, result.to_text()
  assert result.channel("actuator_gainprm").zero < 4
  right = linearize.step_gradient

  def wrong(*args, **kwargs):
    out = right(*args, **kwargs)
    out.grad["actuator_gainprm"] = 1.05 * out.grad["actuator_gainprm"]
    return out

  monkeypatch.setattr(linearize, "step_gradient", wrong)
  result = oracles.run_check(mjm, nstates=4, params=("actuator_gainprm",), device=device, entries=2)
  assert [c.channel for c in result.channels if not c.passed] == ["actuator_gainprm"]


@pytest.mark.parametrize("channel", ["act", "ctrl"])
def test_wrong_activation_gradient_fails(monkeypatch, device, channel):
  """Five per cent off only where the cotangent is on the next activation."""
  right = linearize.step_gradient

  def wrong(*args, adj_act, **kwargs):
    out = right(*args, adj_act=adj_act, **kwargs)
    alone = np.any(adj_act != 0) and not np.any(kwargs["adj_qvel"])
    out.grad[channel] = (1.05 if alone else 1.0) * out.grad[channel]
    return out

  monkeypatch.setattr(linearize, "step_gradient", wrong)
  result = oracles.run_check(models.load(models.STATEFUL), nstates=8, params=(), device=device)
  assert [c.channel for c in result.channels if not c.passed] == [channel]


@pytest.mark.parametrize("channel", ["qpos", "ctrl", "body_mass"])
def test_wrong_engine_fails_in_the_wrong_channel(monkeypatch, device, channel):
  """Five per cent off in one channel."""
  right = linearize.step_gradient

  def wrong(*args, **kwargs):
    out = right(*args, **kwargs)
    out.grad[channel] = 1.05 * out.grad[channel]
    return out

  monkeypatch.setattr(linearize, "step_gradient", wrong)
  result = oracles.run_check(models.cartpole(), nstates=8, params=("body_mass",), device=device)
  assert [c.channel for c in result.channels if not c.passed] == [channel]


def test_engine_that_steps_elsewhere_is_not_compared(monkeypatch, device):
  right = linearize.step_gradient

  def elsewhere(*args, **kwargs):
    out = right(*args, **kwargs)
    out.qacc[3] *= 1.5
    return out

  monkeypatch.setattr(linearize, "step_gradient", elsewhere)
  result = oracles.run_check(models.cartpole(), nstates=8, params=(), device=device)
  assert result.differing == (3,)
  assert all(3 not in c.compared for c in result.channels)


@pytest.mark.parametrize("missing", [0, 1])
def test_other_contacts_are_named_where_a_gradient_is_wrong(monkeypatch, device, missing):
  mjm = mujoco.MjModel.from_xml_string("""
    <mujoco>
      <worldbody>
        <geom name="floor" type="plane" size="1 1 1"/>
        <body pos="0 0 0.099"><freejoint/><geom name="ball" size="0.1"/></body>
      </worldbody>
    </mujoco>""")
  right, touching = linearize.step_gradient, runner._Engine.touching

  def wrong(*args, **kwargs):
    out = right(*args, **kwargs)
    out.grad["qvel"] *= 1.1
    return out

  def fewer(engine, world):
    found = touching(engine, world)
    kept = len(found.geom) - missing
    return Contacts(found.geom[:kept], found.normal[:kept], found.dist[:kept], found.pos[:kept])

  monkeypatch.setattr(linearize, "step_gradient", wrong)
  monkeypatch.setattr(runner._Engine, "touching", fewer)
  result = oracles.run_check(mjm, nstates=4, params=(), device=device)
  assert not result.passed
  resting = [s for s, state in enumerate(result.states) if state.ncon]
  assert resting
  assert set(result.differing) == (set(resting) if missing else set())
  named = "geoms floor and ball: 1 contacts in C MuJoCo, 0 in the engine"
  assert (named in result.to_text()) == bool(missing)


def test_contacts_without_a_gradient_are_named(monkeypatch, device):
  right = linearize.step_gradient

  def singular(sim, qpos, **inputs):
    if not np.array_equal(qpos[2], qpos[0]):
      raise NonFiniteGradient("world 2: a contact of ball has no finite gradient.", 2)
    return right(sim, qpos=qpos, **inputs)

  monkeypatch.setattr(linearize, "step_gradient", singular)
  result = oracles.run_check(models.cartpole(), nstates=4, params=(), device=device)
  assert result.switching == (2,)
  assert "a contact of ball has no finite gradient." in result.to_text()
  assert all(len(c.compared) == 3 for c in result.channels)


def test_a_simulator_that_is_too_small_is_enlarged(monkeypatch, device):
  mjm = models.load(models.scene("plane", "capsule"))
  build, rooms = runner._Engine._build, []

  def smaller(engine, room):
    rooms.append(room)
    build(engine, room if len(rooms) > 1 else {"nconmax": 1, "njmax": 1})

  monkeypatch.setattr(runner._Engine, "_build", smaller)
  assert oracles.run_check(mjm, nstates=4, params=(), device=device).passed
  assert len(rooms) > 1


def test_given_states_are_used(device):
  mjm = models.load(models.scene("plane", "sphere"))
  states = [s for s in oracles.sample_states(mjm, 12) if "contact" in s.labels][:4]
  assert len(states) == 4
  result = oracles.run_check(mjm, states=states, params=("geom_size",), device=device)
  assert result.passed, result.to_text()
  assert [s.ncon for s in result.states] == [s.ncon for s in states]
  assert np.isfinite(result.channel("geom_size").worst)


def test_command_writes_only_json_to_standard_output(tmp_path, capfd, device):
  path = tmp_path / "cartpole.xml"
  path.write_text(models.CARTPOLE)
  arguments = dict(nstates=4, params=["body_mass"], device=device)
  assert command.main(str(path), json_path="-", **arguments) == 0
  sys.stdout.flush()
  data = json.loads(capfd.readouterr().out)
  assert data["passed"] is True
  assert data["nstates"] == 4


@pytest.mark.parametrize(
  "arguments, words",
  [
    (dict(params=["body_mas"]), "body_mas"),
    (dict(nstates=0), "at least 1"),
    (dict(device="no_such_device"), "no_such_device"),
  ],
)
def test_bad_arguments(tmp_path, capsys, arguments, words):
  path = tmp_path / "cartpole.xml"
  path.write_text(models.CARTPOLE)
  assert command.main(str(path), **arguments) == 2
  assert words in capsys.readouterr().err


def test_model_is_checked_as_it_is(tmp_path, monkeypatch):
  """With its own integrator, which is not Euler here."""
  path, seen = tmp_path / "model.xml", []
  path.write_text(models.CARTPOLE.replace("<option", '<option integrator="RK4"'))
  right = command.run_check
  monkeypatch.setattr(
    command, "run_check", lambda mjm, **kw: seen.append(mjm.opt.integrator) or right(mjm, **kw)
  )
  assert command.main(str(path), nstates=4, params=["body_mass"], device="cpu") == 0
  assert seen == [mujoco.mjtIntegrator.mjINT_RK4]


def test_unsupported_feature_is_named(tmp_path, capsys):
  path = tmp_path / "model.xml"
  path.write_text(models.CARTPOLE.replace("<option", '<option noslip_iterations="3"'))
  assert command.main(str(path)) == 2
  captured = capsys.readouterr()
  assert "noslip" in captured.err
  assert captured.out == ""

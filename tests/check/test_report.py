"""The comparison and its report, with the oracle in the engine's place."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mjgrad._src.check import command
from mjgrad._src.check.compare import DRAWS
from mjgrad._src.check.compare import KINDS
from mjgrad._src.check.compare import Cotangents
from mjgrad._src.check.compare import compare_channel
from mjgrad._src.check.compare import forward_error
from mjgrad._src.check.jacobian import Jacobian
from mjgrad._src.check.report import ChannelResult
from mjgrad._src.check.report import CheckResult
from mjgrad._src.check.report import StateResult
from tests import models
from tests import oracles


@pytest.fixture(scope="module")
def cart():
  """Six cartpole states with oracle, cotangents and a perfect engine's gradients."""
  mjm = models.cartpole()
  states = oracles.sample_states(mjm, 6)
  oracle = oracles.Oracle(mjm)
  channels = ("qpos", "ctrl", "dof_damping", "geom_friction")
  local = [oracles.linearise(oracle, state.point, channels) for state in states]
  cotangents = Cotangents.random(mjm, len(states), seed=0)
  gradients = {
    name: np.array(
      [
        [
          here.jacobians[name].vjp(
            oracles.to_tangent(mjm, here.base.qpos, cotangents.qpos[k, s]), cotangents.qvel[k, s]
          )
          for s, here in enumerate(local)
        ]
        for k in range(KINDS * DRAWS)
      ]
    )
    for name in channels
  }
  return SimpleNamespace(
    mjm=mjm, states=states, local=local, cotangents=cotangents, gradients=gradients
  )


def compare(cart, channel, gradients, differing=()):
  scale = oracles.Oracle(cart.mjm).channel_scale(channel)
  return compare_channel(
    cart.mjm, channel, cart.local, cart.cotangents, gradients, differing, scale
  )


def test_perfect_engine_passes(cart):
  for channel, gradients in cart.gradients.items():
    result = compare(cart, channel, gradients)
    assert result.passed
    assert result.worst < 1e-12
    assert result.compared == tuple(range(6))


def test_error_in_one_state_fails_by_the_worst(cart):
  gradients = cart.gradients["qpos"].copy()
  gradients[:, 4] *= 1.02
  result = compare(cart, "qpos", gradients)
  assert not result.passed
  assert result.worst_state == 4
  np.testing.assert_allclose(result.worst, 0.02, rtol=1e-6)
  assert result.median < 1e-12


def test_small_error_everywhere_fails_by_the_median(cart):
  result = compare(cart, "qpos", cart.gradients["qpos"] * (1 + 3e-4))
  np.testing.assert_allclose(result.median, 3e-4, rtol=1e-6)
  assert not result.passed


def test_parameters_have_their_own_bars(cart):
  assert compare(cart, "dof_damping", cart.gradients["dof_damping"] * (1 + 3e-4)).passed


def test_one_wrong_kind_of_cotangent_is_enough(cart):
  gradients = cart.gradients["qpos"].copy()
  gradients[:DRAWS] *= 1.5
  np.testing.assert_allclose(compare(cart, "qpos", gradients).median, 0.5, rtol=1e-6)


def test_zero_gradient_must_be_zero(cart):
  """A clamped control has no effect; an engine that says otherwise fails."""
  clamped = [s for s, state in enumerate(cart.states) if "ctrl_clamp" in state.labels]
  assert clamped
  assert compare(cart, "ctrl", cart.gradients["ctrl"]).zero == len(clamped)
  gradients = cart.gradients["ctrl"].copy()
  gradients[:, clamped[0]] = np.median(np.abs(gradients[gradients != 0]))
  result = compare(cart, "ctrl", gradients)
  assert not result.passed
  assert result.worst_state == clamped[0]


def test_gradient_that_vanishes_everywhere(cart):
  gradients = cart.gradients["geom_friction"]
  assert np.all(gradients == 0)
  assert compare(cart, "geom_friction", gradients).passed
  assert not compare(cart, "geom_friction", gradients + 1e-3).passed


def test_missing_gradient_fails(cart):
  assert not compare(cart, "qpos", 0 * cart.gradients["qpos"]).passed


def test_not_a_number_fails(cart):
  gradients = cart.gradients["qpos"].copy()
  gradients[0, 0, 0] = np.nan
  result = compare(cart, "qpos", gradients)
  assert result.worst == np.inf
  assert not result.passed


def test_differing_states_do_not_count_but_are_kept(cart):
  gradients = cart.gradients["qpos"].copy()
  gradients[:, 2] = 0
  result = compare(cart, "qpos", gradients, differing=(2,))
  assert result.passed
  assert 2 not in result.compared
  np.testing.assert_allclose(result.errors[2], 1.0)


def test_nothing_compared_is_not_a_pass(cart):
  result = compare(cart, "qpos", cart.gradients["qpos"], differing=range(6))
  assert not result.passed
  assert result.verdict == "NOTHING COMPARED"


def test_switching_states_do_not_count():
  mjm = models.cartpole()
  points = [oracles.point(mjm, qpos=[0, 0.3], ctrl=[u]) for u in (0.5, 1.0)]
  oracle = oracles.Oracle(mjm)
  local = [oracles.linearise(oracle, p, ("qpos",)) for p in points]
  cotangents = Cotangents.random(mjm, 2, seed=0)
  result = compare_channel(
    mjm, "qpos", local, cotangents, np.zeros((KINDS * DRAWS, 2, 2)), (), np.ones(2)
  )
  assert result.switching == (1,)
  assert result.compared == (0,)


def test_forward_error_is_one_at_the_tolerance(cart):
  here = cart.local[0]
  base = here.base
  assert forward_error(cart.mjm, here, base.qpos, base.qvel, base.qacc) == 0
  size = np.linalg.norm(base.qacc) + np.linalg.norm(base.qacc_smooth)
  off = base.qacc + 1e-3 * size * np.array([1.0, 0.0])
  np.testing.assert_allclose(
    forward_error(cart.mjm, here, base.qpos, base.qvel, off), 1.0, rtol=1e-6
  )
  assert forward_error(cart.mjm, here, base.qpos, base.qvel * np.nan, base.qacc) == np.inf


@pytest.fixture
def result(cart):
  states = tuple(
    StateResult(s.kind, s.labels, s.ncon, s.nefc, 3.0 if i == 1 else 0.1, 0.5, "nothing")
    for i, s in enumerate(cart.states)
  )
  bad = cart.gradients["qpos"].copy()
  bad[0, 0, 0] = np.inf
  return CheckResult(
    model="cartpole",
    seed=0,
    device="cpu",
    channels=(
      compare(cart, "ctrl", cart.gradients["ctrl"], (1,)),
      compare(cart, "qpos", bad, (1,)),
    ),
    states=states,
    differing=(1,),
  )


def test_table(result):
  text = result.to_text()
  lines = text.splitlines()
  assert max(map(len, lines)) <= 100
  assert next(line for line in lines if line.startswith("ctrl")).split("(")[0].endswith("pass ")
  assert next(line for line in lines if line.startswith("qpos")).endswith("FAIL")
  assert "differs from C MuJoCo (1): 1" in text
  assert lines[-1] == "FAIL"


def test_switching_points_are_named():
  """What switches, where float32 could reach it; otherwise that the differences have no limit."""
  states = tuple(
    StateResult("posed", (), 0, 0, 0.1, distance, "control clamp of actuator 0")
    for distance in (1e-7, 1e-6, 0.3, 0.3)
  )
  channel = ChannelResult("qpos", (0.0,) * 4, (3,), (0, 1, 2), 0, 0, 0.0)
  result = CheckResult("switch", 0, "cpu", (channel,), states, ())
  assert result.switches == {"control clamp of actuator 0": 2, "differences without a limit": 1}
  assert "  control clamp of actuator 0: 2" in result.to_text().splitlines()


def test_vanishing_gradient_may_be_what_float32_leaves(cart):
  gradients = cart.gradients["geom_friction"]
  assert compare(cart, "geom_friction", gradients + 1e-9).passed
  assert not compare(cart, "geom_friction", gradients + 1e-4).passed


def test_moments_of_forces_that_cancel(cart):
  """Rounding of the moments is relative to the forces, which are the gradient in the position."""
  size = cart.mjm.geom_quat.size
  nothing = Jacobian(np.zeros((4, size)), np.zeros(size), np.zeros(size, bool), np.ones(size, bool))
  force = replace(nothing, matrix=np.full((4, size), 1e3 / cart.mjm.stat.meansize))
  rounding = np.full((KINDS * DRAWS, len(cart.states), size), 1e-4)

  def passed(channel, **jacobians):
    local = [replace(here, jacobians=jacobians) for here in cart.local]
    scale = np.ones(size)
    return compare_channel(cart.mjm, channel, local, cart.cotangents, rounding, (), scale).passed

  assert passed("geom_quat", geom_quat=nothing, geom_pos=force)
  assert not passed("geom_quat", geom_quat=nothing)
  assert not passed("geom_quat", geom_quat=nothing, geom_pos=nothing)
  assert not passed("geom_size", geom_size=nothing, geom_pos=force)


def test_json_is_strict(result):
  data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
  assert data["passed"] is False
  assert data["differing"] == [1]
  by_name = {c["channel"]: c for c in data["channels"]}
  assert by_name["ctrl"]["passed"] is True
  assert by_name["qpos"]["worst"] is None
  assert by_name["qpos"]["tolerance"] == {"median": 1e-4, "worst": 1e-2}
  assert len(data["states"]) == 6


@pytest.mark.parametrize("text", [None, "this is not XML", "<mujoco><worldbody/></mujoco"])
def test_bad_model_file(tmp_path, capsys, text):
  path = tmp_path / "model.xml"
  if text is not None:
    path.write_text(text)
  assert command.main(str(path)) == 2
  captured = capsys.readouterr()
  assert captured.out == ""
  assert str(path) in captured.err
  assert "Traceback" not in captured.err


@pytest.mark.parametrize("passed, code", [(True, 0), (False, 1)])
def test_exit_code_and_json(tmp_path, capsys, monkeypatch, cart, result, passed, code):
  channels = result.channels[:1] if passed else result.channels
  shown = CheckResult(
    result.model, result.seed, result.device, channels, result.states, result.differing
  )
  monkeypatch.setattr(command, "run_check", lambda mjm, **_: shown)
  model = tmp_path / "model.xml"
  model.write_text(models.CARTPOLE)
  out = tmp_path / "result.json"
  assert command.main(str(model), json_path=str(out)) == code
  assert capsys.readouterr().out == shown.to_text() + "\n"
  assert json.loads(out.read_text()) == shown.to_dict()
  assert command.main(str(model), json_path="-") == code
  assert json.loads(capsys.readouterr().out) == shown.to_dict()


def test_unwritable_json(tmp_path, capsys, monkeypatch, result):
  monkeypatch.setattr(command, "run_check", lambda mjm, **_: result)
  model = tmp_path / "model.xml"
  model.write_text(models.CARTPOLE)
  assert command.main(str(model), json_path=str(tmp_path / "no" / "result.json")) == 2
  assert "Cannot write" in capsys.readouterr().err

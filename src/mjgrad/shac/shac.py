"""SHAC: short-horizon actor-critic through a differentiable simulator.

Xu et al. 2022, "Accelerated Policy Learning with Parallel Differentiable Simulation", section 3.2.
In every update n worlds run T control steps from where the last update left them. The actor loss is
the discounted return of that horizon, differentiated through the simulator, plus the value of the
state it ends in:

    L = - 1/(n T)  sum over worlds and segments  [ sum_{t=a}^{b} gamma^(t-a) r_t
                                                   + gamma^(b-a+1) V'(s_{b+1}) ]

A segment runs from a to b: it starts at the horizon's start or after a reset, and ends at an
episode end or at the horizon's end. The last term is zero where the task terminated the episode,
and uses the observation before the reset where the time limit truncated it. The critic V is then
fitted to TD(lambda) targets, and the target critic V' follows it slowly.

Held fixed in an update: the parameters of V' (not its input), the observation statistics, episode
ends, and the state the horizon starts from.
"""

import copy
import dataclasses
from collections import deque
from typing import Any, Literal

import torch
from torch import nn

from mjgrad._src.errors import InvalidInput
from mjgrad._src.errors import NonFiniteState
from mjgrad.envs.base import Env

from .networks import Actor
from .networks import Critic
from .networks import RunningNormalizer
from .returns import td_lambda_returns

RETURN_WINDOW = 100
"""Finished episodes over which the logged return is averaged."""


@dataclasses.dataclass(frozen=True)
class ShacConfig:
  """Settings of SHAC (Xu et al. 2022). The defaults are those for CartPole."""

  num_worlds: int = 64
  """Worlds simulated in parallel, n."""
  horizon: int = 32
  """Control steps per update through which the actor loss is differentiated, T."""
  epochs: int = 300
  """Updates of the policy in a whole run."""
  gamma: float = 0.98
  """Discount per control step."""
  lam: float = 0.95
  """Weight lambda of longer returns in the critic's TD(lambda) targets."""
  reward_scale: float = 0.1
  """Factor on the reward in both losses, to bring values near 1; logged rewards are unscaled."""
  actor_lr: float = 1e-2
  """Initial learning rate of the policy."""
  critic_lr: float = 5e-3
  """Initial learning rate of the critic."""
  lr_schedule: Literal["linear", "adaptive", "constant"] = "linear"
  """linear: both rates fall to final_lr over the run. adaptive: the critic's rate stays, the
  policy's is divided by 1.5 when an update moves the policy further than twice target_kl, and
  multiplied by 1.5, up to actor_lr, when it moves it less than half of that."""
  final_lr: float = 1e-5
  """Learning rate at the end of the linear schedule, and the least of the adaptive one."""
  target_kl: float = 0.008
  """Divergence KL(old || new) of the policy that the adaptive schedule aims at in each update."""
  adam_betas: tuple[float, float] = (0.7, 0.95)
  """Decay of Adam's running averages, for both networks."""
  max_grad_norm: float = 1.0
  """Gradients of a network are scaled down to this norm when they exceed it."""
  critic_iterations: int = 16
  """Passes over the horizon's samples in each fit of the critic."""
  critic_minibatches: int = 4
  """Minibatches per pass."""
  target_critic_decay: float = 0.2
  """Share of the target critic that survives an update; the rest comes from the critic."""
  normalize_obs: bool = True
  """Normalise observations by their running mean and standard deviation."""
  stagger: bool = True
  """Start the worlds at random times of their first episode, so that later on every horizon sees
  all phases of an episode. These first, shorter episodes are not counted in the logged return."""
  actor_units: tuple[int, ...] = (64, 64)
  """Widths of the policy's hidden layers."""
  critic_units: tuple[int, ...] = (64, 64)
  """Widths of the critic's hidden layers."""
  initial_log_std: float = -1.0
  """Initial logarithm of the standard deviation of the actions before tanh."""

  def __post_init__(self):
    positive = ("num_worlds", "horizon", "epochs", "critic_iterations", "critic_minibatches")
    for name in positive:
      if getattr(self, name) < 1:
        raise InvalidInput(f"{name} is {getattr(self, name)}; it must be at least 1")
    for name in ("gamma", "lam", "target_critic_decay"):
      if not 0.0 <= getattr(self, name) <= 1.0:
        raise InvalidInput(f"{name} is {getattr(self, name)}; it must lie in [0, 1]")
    for name in ("reward_scale", "actor_lr", "critic_lr", "max_grad_norm", "target_kl", "final_lr"):
      if not getattr(self, name) > 0.0:
        raise InvalidInput(f"{name} is {getattr(self, name)}; it must be positive")
    if self.critic_minibatches > self.num_worlds * self.horizon:
      raise InvalidInput(
        f"critic_minibatches is {self.critic_minibatches}, but there are only"
        f" {self.num_worlds} x {self.horizon} samples"
      )


class DivergedError(NonFiniteState):
  """A loss or a gradient became infinite or not a number.

  Attributes:
    record: named tensors that reproduce the horizon, to be saved by whoever catches the error.
  """

  def __init__(self, message: str, record: dict[str, torch.Tensor]):
    super().__init__(message)
    self.record = record


@dataclasses.dataclass
class Horizon:
  """What one horizon leaves behind: lists over its T control steps.

  Attributes:
    start: the environment's `state_dict` before the first step.
    loss: actor loss of every world with its graph, summed over the steps, shape [n].
    action: actions with their graph, each of shape [n, num_act].
    obs: observations that the actions were chosen on, each [n, num_obs].
    next_obs: observations after the step, before any reset, each [n, num_obs].
    reward: unscaled, each [n].
    terminated: bool, each [n].
    truncated: bool, each [n].
  """

  start: dict[str, Any]
  loss: torch.Tensor
  action: list[torch.Tensor] = dataclasses.field(default_factory=list)
  obs: list[torch.Tensor] = dataclasses.field(default_factory=list)
  next_obs: list[torch.Tensor] = dataclasses.field(default_factory=list)
  reward: list[torch.Tensor] = dataclasses.field(default_factory=list)
  terminated: list[torch.Tensor] = dataclasses.field(default_factory=list)
  truncated: list[torch.Tensor] = dataclasses.field(default_factory=list)


class Shac:
  """The learner: networks, optimisers and the environment they learn in.

  Attributes:
    env: the environment.
    config: the settings.
    actor, critic, target_critic, normalizer: the networks.
    epoch: updates made so far.
  """

  _MODULES = (
    "actor",
    "critic",
    "target_critic",
    "normalizer",
    "_actor_optimizer",
    "_critic_optimizer",
  )

  def __init__(self, env: Env, config: ShacConfig, seed: int = 0):
    """Initialises the networks; the same seed gives the same weights."""
    self.env = env
    self.config = config
    self.epoch = 0
    self._generator = torch.Generator().manual_seed(seed)
    task, device = env.task, env.device
    self.actor = Actor(
      task.num_obs, task.num_act, config.actor_units, config.initial_log_std, self._generator
    ).to(device)
    self.critic = Critic(task.num_obs, config.critic_units, self._generator).to(device)
    self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
    self.normalizer = RunningNormalizer(task.num_obs).to(device)
    self._actor_optimizer = torch.optim.Adam(
      self.actor.parameters(), lr=config.actor_lr, betas=config.adam_betas
    )
    self._critic_optimizer = torch.optim.Adam(
      self.critic.parameters(), lr=config.critic_lr, betas=config.adam_betas
    )
    self._adaptive_lr = config.actor_lr
    self._num_clipped = 0
    self._episode_return = torch.zeros(env.num_worlds, device=device)
    self._finished_return: deque[float] = deque(maxlen=RETURN_WINDOW)
    self._finished_length: deque[float] = deque(maxlen=RETURN_WINDOW)
    if config.stagger:
      length = task.episode_length
      env.progress = torch.randint(length, (env.num_worlds,), generator=self._generator).to(device)
      self._episode_return.masked_fill_(env.progress > 0, float("nan"))
    if config.normalize_obs:
      self.normalizer.update(env.observe())

  def policy(self, obs: torch.Tensor) -> torch.Tensor:
    """Deterministic actions, shape [n, num_act], for raw observations, shape [n, num_obs]."""
    return self.actor(self.normalizer(obs))

  def update(self) -> dict[str, float]:
    """One epoch: roll out a horizon, improve the actor, fit the critic. Returns its metrics."""
    actor_lr = self._set_learning_rates()
    horizon = Horizon(
      self.env.state_dict(), torch.zeros(self.env.num_worlds, device=self.env.device)
    )
    try:
      self._roll_out(horizon)
      metrics = self._improve_actor(horizon)
    except DivergedError:
      raise
    except NonFiniteState as error:  # the simulator noticed first
      message = f"epoch {self.epoch + 1}, control step {len(horizon.action)}: {error}"
      raise DivergedError(message, _record(horizon)) from error
    metrics |= self._fit_critic(horizon)
    if self.config.normalize_obs:
      self.normalizer.update(torch.stack(horizon.next_obs))
    self.epoch += 1
    return {
      "epoch": self.epoch,
      "steps": self.epoch * self.config.horizon * self.config.num_worlds,
      "return": _mean(self._finished_return),
      "episode_length": _mean(self._finished_length),
      "reward": torch.stack(horizon.reward).mean().item(),
      "actor_lr": actor_lr,
      "policy_std": self.actor.log_std.exp().mean().item(),
      **metrics,
    }

  def _roll_out(self, horizon: Horizon) -> None:
    """Runs the horizon, building the graph of the actor loss; raises if it is not finite."""
    cfg, env = self.config, self.env
    noise = torch.randn(
      cfg.horizon, env.num_worlds, env.task.num_act, generator=self._generator
    ).to(env.device)
    discount = torch.ones(env.num_worlds, device=env.device)
    obs = env.detach()
    for t in range(cfg.horizon):
      action = self.actor(self.normalizer(obs), noise[t])
      action.retain_grad()
      horizon.action.append(action)
      horizon.obs.append(obs.detach())
      next_obs, reward, terminated, truncated, info = env.step(action)
      done = terminated | truncated
      horizon.loss = horizon.loss - discount * cfg.reward_scale * reward
      discount = discount * cfg.gamma
      last = t == cfg.horizon - 1
      if last or bool(done.any()):
        segment_end = torch.ones_like(done) if last else done
        value = self.target_critic(self.normalizer(info["final_obs"]))
        horizon.loss = horizon.loss - torch.where(segment_end & ~terminated, discount * value, 0.0)
        discount = torch.where(done, 1.0, discount)
      horizon.next_obs.append(info["final_obs"].detach())
      horizon.reward.append(reward.detach())
      horizon.terminated.append(terminated)
      horizon.truncated.append(truncated)
      self._count_episodes(reward.detach(), done, info["length"])
      obs = next_obs
    seen = (horizon.loss, torch.stack(horizon.reward), torch.stack(horizon.next_obs))
    if not all(bool(torch.isfinite(part).all()) for part in seen):
      self._diverged("the actor loss", horizon, *seen[1:])

  def _improve_actor(self, horizon: Horizon) -> dict[str, float]:
    """One gradient step of the policy on the actor loss."""
    cfg = self.config
    self._actor_optimizer.zero_grad()
    loss = horizon.loss.mean() / cfg.horizon
    loss.backward()
    norm = nn.utils.clip_grad_norm_(self.actor.parameters(), cfg.max_grad_norm)
    if not bool(torch.isfinite(norm)):
      self._diverged("the gradient of the actor loss", horizon, _gradient(horizon))
    clipped = norm.item() > cfg.max_grad_norm
    self._num_clipped += clipped
    old = self._policy_on(horizon) if cfg.lr_schedule == "adaptive" else None
    self._actor_optimizer.step()
    metrics = {
      "actor_loss": loss.item(),
      "actor_grad_norm": norm.item(),
      "actor_grad_norm_clipped": min(norm.item(), cfg.max_grad_norm),
      "actor_clipped_share": self._num_clipped / (self.epoch + 1),
    }
    if old is not None:
      metrics["kl"] = kl = _gaussian_kl(*old, *self._policy_on(horizon))
      if kl > 2.0 * cfg.target_kl:
        self._adaptive_lr = max(self._adaptive_lr / 1.5, cfg.final_lr)
      elif kl < 0.5 * cfg.target_kl:
        self._adaptive_lr = min(self._adaptive_lr * 1.5, cfg.actor_lr)
    return metrics

  def _fit_critic(self, horizon: Horizon) -> dict[str, float]:
    """Fits the critic to TD(lambda) targets in minibatches, then moves the target critic."""
    cfg = self.config
    with torch.no_grad():
      obs = self.normalizer(torch.stack(horizon.obs)).flatten(0, 1)
      target = td_lambda_returns(
        cfg.reward_scale * torch.stack(horizon.reward),
        self.target_critic(self.normalizer(torch.stack(horizon.next_obs))),
        torch.stack(horizon.terminated),
        torch.stack(horizon.truncated),
        cfg.gamma,
        cfg.lam,
      ).flatten()
    losses, norms = [], []
    for _ in range(cfg.critic_iterations):
      order = torch.randperm(target.shape[0], generator=self._generator).to(target.device)
      for index in order.chunk(cfg.critic_minibatches):
        loss = (self.critic(obs[index]) - target[index]).square().mean()
        self._critic_optimizer.zero_grad()
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(self.critic.parameters(), cfg.max_grad_norm))
        losses.append(loss.detach())
        self._critic_optimizer.step()
    loss, norm = torch.stack(losses), torch.stack(norms)
    if not bool(torch.isfinite(norm).all()):
      self._diverged("the gradient of the critic loss", horizon, target.view(cfg.horizon, -1))
    with torch.no_grad():
      for slow, fast in zip(self.target_critic.parameters(), self.critic.parameters()):
        slow.lerp_(fast, 1.0 - cfg.target_critic_decay)
    return {
      "critic_loss": loss[-cfg.critic_minibatches :].mean().item(),
      "critic_grad_norm": norm.mean().item(),
      "critic_clipped_share": (norm > cfg.max_grad_norm).float().mean().item(),
      "value": target.mean().item(),
    }

  def _set_learning_rates(self) -> float:
    """Applies the schedule to both optimisers; returns the policy's rate."""
    cfg = self.config
    actor_lr, critic_lr = cfg.actor_lr, cfg.critic_lr
    if cfg.lr_schedule == "linear":
      left = max(1.0 - self.epoch / cfg.epochs, 0.0)
      actor_lr = cfg.final_lr + left * (cfg.actor_lr - cfg.final_lr)
      critic_lr = cfg.final_lr + left * (cfg.critic_lr - cfg.final_lr)
    elif cfg.lr_schedule == "adaptive":
      actor_lr = self._adaptive_lr
    self._actor_optimizer.param_groups[0]["lr"] = actor_lr
    self._critic_optimizer.param_groups[0]["lr"] = critic_lr
    return actor_lr

  def _policy_on(self, horizon: Horizon) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log standard deviation before tanh on the horizon's observations."""
    with torch.no_grad():
      mean = self.actor.mean(self.normalizer(torch.stack(horizon.obs)))
      return mean, self.actor.log_std.detach().clone().expand_as(mean)

  def _count_episodes(self, reward: torch.Tensor, done: torch.Tensor, length: torch.Tensor) -> None:
    """Adds a step's rewards, shape [n], to the running returns and books finished episodes."""
    self._episode_return += reward
    if bool(done.any()):
      whole = done & ~torch.isnan(self._episode_return)
      self._finished_return.extend(self._episode_return[whole].tolist())
      self._finished_length.extend(length[whole].tolist())
      self._episode_return.masked_fill_(done, 0.0)

  def _diverged(self, what: str, horizon: Horizon, *blamed: torch.Tensor) -> None:
    """Raises DivergedError, naming the first worlds in which a blamed tensor [T, n, ...] is bad."""
    shape = (len(horizon.reward), self.env.num_worlds)
    bad = torch.stack([~torch.isfinite(b.view(*shape, -1)).all(-1) for b in blamed]).any(0)
    worlds = bad.any(0).nonzero().flatten().tolist()
    where = "no single world is to blame"
    if worlds:
      first = [int(bad[:, w].nonzero()[0]) for w in worlds[:4]]
      named = ", ".join(f"world {w} (control step {t})" for w, t in zip(worlds, first))
      where = f"first seen in {named}" + (f" and {len(worlds) - 4} more" if worlds[4:] else "")
    message = f"epoch {self.epoch + 1}: {what} is not finite; {where}."
    raise DivergedError(message, _record(horizon))

  def state_dict(self) -> dict[str, Any]:
    """Everything the next update depends on."""
    return {
      "epoch": self.epoch,
      "env": self.env.state_dict(),
      **{name: getattr(self, name).state_dict() for name in self._MODULES},
      "adaptive_lr": self._adaptive_lr,
      "num_clipped": self._num_clipped,
      "episode_return": self._episode_return,
      "finished_return": list(self._finished_return),
      "finished_length": list(self._finished_length),
      "generator": self._generator.get_state(),
    }

  def load_state_dict(self, saved: dict[str, Any]) -> None:
    """Restores what `state_dict` returned."""
    self.epoch = saved["epoch"]
    self.env.load_state_dict(saved["env"])
    for name in self._MODULES:
      getattr(self, name).load_state_dict(saved[name])
    self._adaptive_lr = saved["adaptive_lr"]
    self._num_clipped = saved["num_clipped"]
    self._episode_return = saved["episode_return"].to(self.env.device)
    self._finished_return = deque(saved["finished_return"], RETURN_WINDOW)
    self._finished_length = deque(saved["finished_length"], RETURN_WINDOW)
    self._generator.set_state(saved["generator"].cpu())


def _mean(values: deque[float]) -> float:
  return sum(values) / len(values) if values else float("nan")


def _gradient(horizon: Horizon) -> torch.Tensor:
  """Gradient of the actor loss with respect to every action, shape [T, n, num_act]."""
  return torch.stack([torch.zeros_like(a) if a.grad is None else a.grad for a in horizon.action])


def _record(horizon: Horizon) -> dict[str, torch.Tensor]:
  """What it takes to repeat a horizon that diverged, on the CPU."""
  record = {f"start_{name}": value for name, value in horizon.start["state"].items()}
  lists = {name: getattr(horizon, name) for name in ("obs", "action", "next_obs", "reward")}
  record |= {name: torch.stack(values) for name, values in lists.items() if values}
  record["adj_action"] = _gradient(horizon)
  return {name: value.detach().cpu() for name, value in record.items()}


def _gaussian_kl(
  mean_old: torch.Tensor, log_std_old: torch.Tensor, mean: torch.Tensor, log_std: torch.Tensor
) -> float:
  """Mean over states of KL(old || new) between diagonal Gaussians, all of shape [..., num_act]."""
  ratio = torch.exp(2.0 * (log_std_old - log_std))
  shift = (mean - mean_old) ** 2 * torch.exp(-2.0 * log_std)
  kl = log_std - log_std_old + 0.5 * (ratio + shift - 1.0)
  return kl.sum(-1).mean().item()

"""Actor, critic and observation statistics of SHAC."""

from collections.abc import Sequence

import torch
from torch import nn


def mlp(sizes: Sequence[int], generator: torch.Generator, output_gain: float) -> nn.Sequential:
  """Linear layers with ELU and layer normalisation between them, orthogonally initialised.

  Args:
    sizes: width of input, hidden layers and output.
    generator: source of the initial weights.
    output_gain: gain of the last layer; the others have sqrt(2).
  """
  layers: list[nn.Module] = []
  for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
    linear = nn.Linear(fan_in, fan_out)
    last = i == len(sizes) - 2
    nn.init.orthogonal_(linear.weight, output_gain if last else 2.0**0.5, generator=generator)
    nn.init.zeros_(linear.bias)
    layers.append(linear)
    if not last:
      layers += [nn.ELU(), nn.LayerNorm(fan_out)]
  return nn.Sequential(*layers)


class Actor(nn.Module):
  """Gaussian policy squashed into the action range: tanh(mean(obs) + std * noise).

  The logarithm of the standard deviation is a parameter of its own, the same in every state.
  """

  def __init__(
    self,
    num_obs: int,
    num_act: int,
    units: Sequence[int],
    log_std: float,
    generator: torch.Generator,
  ):
    super().__init__()
    self.mean = mlp([num_obs, *units, num_act], generator, output_gain=0.01)
    self.log_std = nn.Parameter(torch.full((num_act,), log_std))

  def forward(self, obs: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
    """Actions in [-1, 1], shape [n, num_act]; without noise those of the deterministic policy.

    Args:
      obs: normalised observations, shape [n, num_obs].
      noise: standard normal, shape [n, num_act].
    """
    mean = self.mean(obs)
    return torch.tanh(mean if noise is None else mean + torch.exp(self.log_std) * noise)


class Critic(nn.Module):
  """State value V(obs)."""

  def __init__(self, num_obs: int, units: Sequence[int], generator: torch.Generator):
    super().__init__()
    self.value = mlp([num_obs, *units, 1], generator, output_gain=1.0)

  def forward(self, obs: torch.Tensor) -> torch.Tensor:
    """Values, shape [...], of normalised observations, shape [..., num_obs]."""
    return self.value(obs).squeeze(-1)


class RunningNormalizer(nn.Module):
  """Shifts and scales observations by the mean and standard deviation of all seen so far.

  Mean and variance are merged batch by batch with the parallel formula of Chan, Golub and LeVeque
  1979. Calling the module never updates them, so they are constants of the graph.
  """

  count: torch.Tensor
  mean: torch.Tensor
  var: torch.Tensor

  def __init__(self, num_obs: int):
    super().__init__()
    self.register_buffer("count", torch.zeros((), dtype=torch.float64))
    self.register_buffer("mean", torch.zeros(num_obs, dtype=torch.float64))
    self.register_buffer("var", torch.ones(num_obs, dtype=torch.float64))

  @torch.no_grad()
  def update(self, obs: torch.Tensor) -> None:
    """Merges observations of shape [..., num_obs]."""
    batch = obs.reshape(-1, obs.shape[-1]).double()
    total = self.count + batch.shape[0]
    delta = batch.mean(0) - self.mean
    squares = self.var * self.count + batch.var(0, unbiased=False) * batch.shape[0]
    squares += delta**2 * self.count * batch.shape[0] / total
    self.mean += delta * batch.shape[0] / total
    self.var.copy_(squares / total)
    self.count.copy_(total)

  def forward(self, obs: torch.Tensor) -> torch.Tensor:
    """Normalised observations; a coordinate that never varied is only shifted."""
    return (obs - self.mean.to(obs.dtype)) / torch.sqrt(self.var.to(obs.dtype) + 1e-5)

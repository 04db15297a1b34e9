"""PyTorch front end: differentiable steps, rollouts and observations of a batch of worlds."""

from mjgrad.torch.observe import observe as observe
from mjgrad.torch.state import State as State
from mjgrad.torch.state import initial_state as initial_state
from mjgrad.torch.step import rollout as rollout
from mjgrad.torch.step import step as step

"""The experiments on gradients through hard contacts, as `mjgrad experiment NAME`.

Source: Paulus et al., Differentiable Simulation of Hard Contacts with Soft Gradients for Learning
and Control (2026), whose figures these are after.
"""

from mjgrad.experiments.command import main as main

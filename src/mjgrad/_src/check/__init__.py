"""Check of a model's gradients against float64 C MuJoCo: the oracle, states, comparison, report."""

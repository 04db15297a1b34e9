"""The slope of the impedance, in a module that does not evaluate it."""

import warp as wp

from mjgrad._src.engine.adapter import vec5
from mjgrad._src.terms.impedance import impedance

wp.set_module_options({"enable_backward": False})


@wp.kernel
def differentiate(
  # In:
  solimp: wp.array[vec5],
  r: wp.array[float],
  # Out:
  slope_out: wp.array[float],
):
  i = wp.tid()
  _adj_solimp, adj_r = wp.grad(impedance)(solimp[i], r[i])
  slope_out[i] = adj_r

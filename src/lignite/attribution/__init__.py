"""Integrated gradients on plain tensors: paths, quadrature, set-to-set maps. Knows no model library."""

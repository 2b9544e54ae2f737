"""Measures of explanations: `readings` need results alone, `asking` needs the model, `registry` names them all."""

"""Studies over many runs: sweeps, scaling laws, forecasts, and the value of single sessions."""

"""Tables, figures and the page. Reads records only: no torch, no model."""

"""The network: read-in, backbone, read-out, and its checkpoints."""

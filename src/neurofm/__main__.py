"""python -m neurofm."""

from neurofm.cli import main

main()

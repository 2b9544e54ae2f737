"""`python -m lignite` is the command line."""

from lignite.apps.cli import main

if __name__ == "__main__":  # doctest and documentation tools import every module
    main()

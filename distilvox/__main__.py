"""`python -m distilvox` is `distilvox`."""

from distilvox.cli import main

if __name__ == "__main__":
    main()

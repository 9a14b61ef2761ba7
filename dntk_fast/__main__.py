"""`python -m dntk_fast` is the command `dntk`."""

from dntk_fast.cli import main

if __name__ == "__main__":
    main()

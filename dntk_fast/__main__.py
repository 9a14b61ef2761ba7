"""`python -m dntk_fast` is the command `dntk`; `bench gpu` needs torch and numpy alone."""

import sys

if __name__ == "__main__":
    if sys.argv[1:3] == ["bench", "gpu"]:
        from dntk_fast.bench import gpu as command
    else:
        from dntk_fast import cli as command  # type: ignore[no-redef]
    command.main()

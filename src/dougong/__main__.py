"""``python -m dougong`` is the ``dougong`` command."""

from dougong.cli import main

if __name__ == "__main__":
    main()

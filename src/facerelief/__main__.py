"""`python -m facerelief`: the command line."""

from facerelief.cli.app import main

if __name__ == "__main__":
    main()

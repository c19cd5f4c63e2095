"""The command line, one file a command. Other rooms are imported inside the commands: help is quick."""

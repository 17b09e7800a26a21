"""What each command does, once its arguments are read. Imported by `cli` when the command is chosen."""

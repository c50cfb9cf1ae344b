"""What stands on a backbone: the answers to a task."""

"""The work of the schedules that keep prices fresh."""

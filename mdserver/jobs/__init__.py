"""Background work: the timetable, and the jobs on it. Floor 5."""

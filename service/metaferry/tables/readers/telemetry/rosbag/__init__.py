"""ROS bags: those of ROS 1, and of ROS 2 in SQLite (db3) and MCAP.

Inside: `reader` is what the registry imports, `bag1` is the container of ROS 1, `database` the one of ROS 2
in SQLite. A bag that was not closed is read from its start. Nothing is written into a bag, or beside it.
"""

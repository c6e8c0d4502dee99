"""Recordings of sensors: GPX, NMEA, MCAP and ROS bags, each as one relation `samples`.

Inside: a module or package a format; `columns` has the columns that they share, `opened` what else they have
in common, `times` and `values` check what stands in a file. The registry imports the readers. They never join
samples to frames, guess a zone or a date, or hold a file in memory.
"""

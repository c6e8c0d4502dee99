"""Readers of the media themselves: what their listing tells, and what is in them.

Inside: `objects` has a row for each listed image and video, `facts` what the headers of each tell.
`registry.py` names them. They ask `MediaAccess` for the media, and never list on their own.
"""

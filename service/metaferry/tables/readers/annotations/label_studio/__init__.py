"""Label Studio's JSON export, of images and of videos.

Inside: `reader` is what the registry imports and makes rows of tasks, `regions` reads the results of an
annotation, `media` finds the file that a task is about. Percentages stay percentages.
"""

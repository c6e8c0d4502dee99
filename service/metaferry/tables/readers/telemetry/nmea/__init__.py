"""NMEA 0183 logs of receivers.

Inside: `reader` is what the registry imports, `lines` finds sentences among other bytes, `sentences` makes
values of one, `epochs` gathers those of one time and gives them their day. A sentence with a wrong checksum
is never used, and no day is guessed.
"""

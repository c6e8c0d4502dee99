"""Readers through the command: from a source's file to the tree, with values written by hand."""

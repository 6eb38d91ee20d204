"""Readers: the text of a file, or the output of a program, in; settings out.

A reader does no I/O, and skips what it does not understand, as the program does that the file is for. It raises MalformedFile where
that program would read nothing at all. Line numbers count from 1; 0 where the format has no lines to speak of.
"""

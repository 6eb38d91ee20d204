"""Proxy auto-configuration: a PAC file, evaluated in a process of its own."""

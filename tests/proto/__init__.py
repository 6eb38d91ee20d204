"""Tests of the sans-IO layer, one file per module. The numbers (C6, S7, V4) refer to CONFORMANCE.md and THREATS.md."""

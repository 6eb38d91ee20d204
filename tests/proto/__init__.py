"""The sans-IO layer, a file a module. The numbers (C6, S7, V4) are those of CONFORMANCE.md and THREATS.md."""

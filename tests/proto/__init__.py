"""The sans-IO layer, a file a module. The rule and class numbers (C6, S7, V4) are those of the conformance checklist."""

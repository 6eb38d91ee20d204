"""What `deploy/release` does: checks (changelog, readiness), builds (artefacts), and describes the result (inventory)."""

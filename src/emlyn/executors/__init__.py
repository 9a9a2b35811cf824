"""Executors that need a library of their own, as plug-ins."""

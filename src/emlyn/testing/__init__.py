"""Contract tests for plug-ins and stores: subclass the class, give it your object, run pytest."""

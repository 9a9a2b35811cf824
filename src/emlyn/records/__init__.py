"""The nouns of emlyn: frozen dataclasses that become JSON and come back, and know no mathematics."""

"""Where people and programs come in: thin rooms that parse, call and show."""

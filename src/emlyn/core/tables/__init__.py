"""Tables from the outside: bytes and dataframes to typed columns, and the contract that holds them to it."""

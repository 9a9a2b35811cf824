"""How recipes are chosen: trials, their cost, racing, variations, and the ensemble."""

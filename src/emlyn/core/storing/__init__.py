"""What stays: the store, runs, registry, model files, signatures and durable writes."""

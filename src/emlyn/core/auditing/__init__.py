"""What checks look at: the material, cheap probes, and how rows hang together."""

"""The Sparkplug B convention: one edge node per gateway, one device per charger."""

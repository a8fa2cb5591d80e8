"""What is made from the registries: topic reference, schemas, openHAB, tags, access list."""
